from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest

from declutch.data.loading import LoadedData, examples_sha256, load_examples
from declutch.errors import DataError, SettingsError

Rows = list[dict[str, Any]]


def jsonl(folder: Path, rows: Rows, name: str = "data.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def pairs(count: int) -> Rows:
    return [{"prompt": f"p{n}", "response": f"r{n}"} for n in range(count)]


def load_all(folder: Path, rows: Rows, query: str = "", **options: Any) -> LoadedData:
    return load_examples(jsonl(folder, rows) + query, num_samples=None, **options)


def texts(data: LoadedData) -> list[tuple[str, str]]:
    return [(example.prompt, example.response) for example in data.examples]


# Columns


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p", "response": "r", "chosen": "x", "question": "x", "answer": "x"},
        {"instruction": "p", "output": "r"},
        {"instruction": "p", "input": " ", "output": "r"},
        {"question": "p", "answer": "r"},
        {"prompt": "p", "completion": "r"},
        {"prompt": "p", "chosen": "r"},
        {"Question": "p", "ANSWER": "r"},
        {"prompt": "x", "PROMPT": "x", "q": "p", "a": "r"},
    ],
)
def test_usual_names(tmp_path: Path, row: dict[str, str]) -> None:
    query = "?prompt=q&response=a" if "q" in row else ""
    assert texts(load_all(tmp_path, [row], query)) == [("p", "r")]


def test_instruction_and_input_are_joined_by_a_blank_line(tmp_path: Path) -> None:
    row = {"instruction": "Sum up.", "input": "A text.", "output": "Text."}
    for query in ("", "?prompt=instruction&response=output"):
        data = load_all(tmp_path, [row], query)
        assert texts(data) == [("Sum up.\n\nA text.", "Text.")]
        assert "«instruction» and «input»" in data.report.columns


def test_one_column_named_the_other_found(tmp_path: Path) -> None:
    row = {"ask": "p", "answer": "r", "prompt": "other"}
    assert texts(load_all(tmp_path, [row], "?prompt=ask")) == [("p", "r")]
    assert texts(load_all(tmp_path, [row], "?response=ask")) == [("other", "p")]


def test_bad_responses(tmp_path: Path) -> None:
    for row, query in (
        ({"prompt": "p", "chosen": "r", "rejected": "b"}, ""),
        ({"prompt": "p", "response": "r", "bad_response": "b"}, ""),
        ({"prompt": "p", "response": "r", "worse": "b"}, "?bad_response=worse"),
    ):
        assert load_all(tmp_path, [row], query).examples[0].bad_response == "b"
    none = {"prompt": "p", "response": "r", "bad_response": None}
    assert load_all(tmp_path, [none]).examples[0].bad_response is None


def test_a_dot_reaches_into_named_values(tmp_path: Path) -> None:
    row = {"q": {"text": "p"}, "response": "r"}
    assert texts(load_all(tmp_path, [row], "?prompt=q.text")) == [("p", "r")]


def test_cells_that_are_not_text(tmp_path: Path) -> None:
    rows: Rows = [{"prompt": 12, "response": 3.5}, {"prompt": "p", "response": None}]
    data = load_all(tmp_path, rows)
    assert texts(data) == [("12", "3.5")]
    assert data.report.empty_response_rows == (2,)
    with pytest.raises(DataError, match="row 2, column «response»: a list"):
        load_all(tmp_path, [*pairs(1), {"prompt": "p", "response": ["r"]}])


def test_columns_not_found(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_all(tmp_path, [{"text": "p", "reply": "r"}])
    assert "«text» and «reply»" in str(caught.value)
    assert "prompt=COLUMN&response=COLUMN" in str(caught.value)
    with pytest.raises(DataError, match="no column «ask», which prompt="):
        load_all(tmp_path, pairs(1), "?prompt=ask")


def test_ids(tmp_path: Path) -> None:
    rows: Rows = [{"id": 7, "prompt": "a", "response": "b"}, {"prompt": "c", "response": "d"}]
    assert [example.id for example in load_all(tmp_path, rows).examples] == ["7", "row-2"]


# Conversations


def test_turns(tmp_path: Path) -> None:
    user, assistant = {"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}
    system = {"role": "system", "content": "Be brief."}
    greeting = {"role": "assistant", "content": "Hello!"}
    data = load_all(
        tmp_path,
        [
            {"messages": [system, greeting, user, assistant]},
            {"messages": [{"role": "user", "content": "q"}, assistant, user, assistant]},
            {"messages": [assistant, user]},
        ],
    )
    assert texts(data) == [("p", "r"), ("q", "r")]
    assert data.report.system_turns == 1
    assert data.report.later_turns == 1
    assert data.report.empty_response_rows == (3,)
    said = " ".join(data.report.lines())
    assert "1 conversation had a system turn, which was left out" in said
    assert "1 conversation went on" in said


def test_from_and_value_turns(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "p"}, {"from": "gpt", "value": "r"}]
    assert texts(load_all(tmp_path, [{"conversations": turns}])) == [("p", "r")]
    # Older data sets keep the turns as named lists.
    named = {"from": ["human", "gpt"], "value": ["p", "r"]}
    assert texts(load_all(tmp_path, [{"conversations": named}])) == [("p", "r")]


def test_damaged_turns_name_the_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 1, column «messages», turn 1"):
        load_all(tmp_path, [{"messages": [{"speaker": "user", "text": "p"}]}])
    with pytest.raises(DataError, match="row 1, column «messages»: no list"):
        load_all(tmp_path, [{"messages": "user: p"}])


# Losses and sample


def test_losses_are_counted_and_said(tmp_path: Path) -> None:
    rows = pairs(10)
    rows[1] = {"prompt": "p1", "response": "  \n"}
    rows[2] = {"prompt": None, "response": "r"}
    rows[4] = {"prompt": " p3", "response": "r3\n"}
    rows[5] = {"prompt": "p3", "response": "another"}
    data = load_examples(jsonl(tmp_path, rows), num_samples=5, seed=3)
    report = data.report
    assert (report.rows, report.empty, report.duplicates, report.available) == (10, 2, 1, 7)
    assert report.lines()[0] == (
        "10 rows; 1 exact duplicate dropped; 1 row with an empty prompt dropped (row 3); "
        "1 row with an empty response dropped (row 2); 5 of 7 sampled with seed 3."
    )
    assert json.loads(json.dumps(report.as_dict()))["empty_prompt_rows"] == [3]


def test_only_the_first_rows_are_named(tmp_path: Path) -> None:
    rows = pairs(3) + [{"prompt": f"q{n}", "response": ""} for n in range(9)]
    assert (
        "9 rows with an empty response dropped (rows 4, 5, 6, 7, 8, …)"
        in (load_all(tmp_path, rows).report.lines()[0])
    )


def test_sample_is_seeded_and_nested(tmp_path: Path) -> None:
    path = jsonl(tmp_path, pairs(50))
    whole = load_examples(path, num_samples=40).examples
    assert load_examples(path, num_samples=40).examples == whole
    assert load_examples(path, num_samples=10).examples == whole[:10]
    for seed in range(20):
        few, many = (load_examples(path, num_samples=n, seed=seed).examples for n in (5, 40))
        assert few == many[:5]
    assert load_examples(path, num_samples=10, seed=1).examples != whole[:10]
    assert len(set(whole)) == 40


def test_sample_depends_on_content_alone(tmp_path: Path) -> None:
    rows = pairs(50)
    first = load_examples(jsonl(tmp_path, rows), num_samples=20)
    random.Random(1).shuffle(rows)
    path = tmp_path / "shuffled.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["response", "prompt"])
        writer.writeheader()
        writer.writerows(rows + rows[:5])
    second = load_examples(path, num_samples=20)
    assert texts(second) == texts(first)
    assert second.sha256 == first.sha256


def test_none_takes_all_in_order(tmp_path: Path) -> None:
    data = load_all(tmp_path, pairs(5))
    assert [example.prompt for example in data.examples] == ["p0", "p1", "p2", "p3", "p4"]
    assert data.report.lines()[0] == "5 rows; all 5 used."


def test_hash_changes_with_the_content(tmp_path: Path) -> None:
    data = load_all(tmp_path, pairs(3))
    assert data.sha256 == examples_sha256(data.examples)
    assert data.sha256 != examples_sha256(reversed(data.examples))
    changed = [*pairs(2), {"prompt": "p2", "response": "r2", "bad_response": "b"}]
    assert load_all(tmp_path, changed).sha256 != data.sha256


def test_fewer_than_asked(tmp_path: Path) -> None:
    path = jsonl(tmp_path, pairs(4) + pairs(1))
    with pytest.raises(DataError) as caught:
        load_examples(path, num_samples=6)
    said = str(caught.value)
    assert "4 different examples, and 6 were asked for" in said
    assert "5 rows; 1 exact duplicate dropped" in said
    assert "--num-samples 4" in said
    assert "--allow-fewer" in said
    data = load_examples(path, num_samples=6, allow_fewer=True)
    assert len(data.examples) == data.report.used == 4
    assert "all 4 used, although 6 were asked for" in data.report.lines()[0]
    assert len(load_examples(path, num_samples=4).examples) == 4


def test_nothing_usable_is_an_error_even_with_allow_fewer(tmp_path: Path) -> None:
    path = jsonl(tmp_path, [{"prompt": "p", "response": ""}])
    with pytest.raises(DataError, match="no examples that can be used"):
        load_examples(path, allow_fewer=True)
    with pytest.raises(SettingsError, match="at least 1"):
        load_examples(path, num_samples=0)


def test_prompts_alone(tmp_path: Path) -> None:
    rows: Rows = [{"prompt": "a"}, {"prompt": "a", "response": "x"}, {"prompt": "b"}]
    data = load_all(tmp_path, rows, require_response=False)
    assert texts(data) == [("a", ""), ("b", "")]
    assert "1 repeated prompt dropped" in data.report.lines()[0]
    with pytest.raises(DataError, match="usual name for its responses"):
        load_all(tmp_path, [{"prompt": "a"}])
    with pytest.raises(DataError, match="usual name for its prompts"):
        load_all(tmp_path, [{"text": "a"}], require_response=False)


def test_different_prompts_are_counted(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "response": f"r{n}"} for n in range(3)]
    data = load_all(tmp_path, rows)
    assert data.report.prompts == 1
    assert "The 3 examples have 1 different prompt." in data.report.lines()


def test_conditions_drop_rows_before_anything_else(tmp_path: Path) -> None:
    rows = [*({"kind": "a", **row} for row in pairs(4)), {"kind": "b", "prompt": ["not text"]}]
    data = load_all(tmp_path, rows, "?where=kind=a")
    assert (data.report.filtered, data.report.used) == (1, 4)
    with pytest.raises(DataError, match="keep none"):
        load_all(tmp_path, rows, "?where=kind=c")


def test_bundled_source() -> None:
    data = load_examples("bundled:privacy", num_samples=16)
    assert len(data.examples) == 16
    assert all(example.bad_response for example in data.examples)
    assert data.report.rows == 128
    asked = load_examples("bundled:harmless_privacy", num_samples=None, require_response=False)
    assert len(asked.examples) == 50
