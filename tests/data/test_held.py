"""Rows in memory go through what a file of them goes through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import declutch
from declutch.data.example import Example
from declutch.data.held import checked_examples
from declutch.data.loading import load_examples
from declutch.errors import DataError, SettingsError

ROWS: list[dict[str, Any]] = [
    {"prompt": "a", "response": "b", "id": "one"},
    {"prompt": "c", "response": "d", "id": "two"},
    {"prompt": "c", "response": "d", "id": "three"},
    {"prompt": "e", "response": None, "id": "four"},
]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}


def forms() -> list[Any]:
    dataset = pytest.importorskip("datasets").Dataset.from_list(ROWS)
    pandas = pytest.importorskip("pandas")
    arrow = pytest.importorskip("pyarrow")
    return [
        ROWS,
        tuple(ROWS),
        COLUMNS,
        dataset,
        dataset[:],
        pandas.DataFrame(ROWS),
        pandas.DataFrame(ROWS).convert_dtypes(),
        arrow.Table.from_pylist(ROWS),
    ]


def test_every_form_gives_what_a_file_gives(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS), encoding="utf-8")
    expected = load_examples(path, num_samples=2, seed=5)
    assert (expected.report.duplicates, expected.report.empty_response_rows) == (1, (4,))
    for form in forms():
        data = load_examples(form, num_samples=2, seed=5)
        assert (data.examples, data.sha256) == (expected.examples, expected.sha256), type(form)
        changed = {**expected.report.as_dict(), "source": "memory"}
        assert data.report.as_dict() == changed, type(form)
        assert str(data.source) == "memory"


def test_turns_in_a_data_frame(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    turns = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}]
    pandas.DataFrame([{"messages": turns}]).to_parquet(tmp_path / "a.parquet")
    frame = pandas.read_parquet(tmp_path / "a.parquet")  # arrays where lists were
    (example,) = load_examples(frame, num_samples=None).examples
    assert (example.prompt, example.response) == ("p", "r")


def test_examples_are_rows_too() -> None:
    data = load_examples([Example("p", "r", "x", "bad")], num_samples=None)
    assert data.examples == (Example("p", "r", "x", "bad"),)


def test_a_frame_of_whatever_makes_dicts() -> None:
    class Frame:
        columns = ("prompt", "response")

        def to_dicts(self) -> list[dict[str, str]]:
            return [{"prompt": "p", "response": "r"}]

    assert load_examples(Frame(), num_samples=None).examples[0].response == "r"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "no rows"),
        ({}, "no rows"),
        (None, "of type NoneType, which can't be read"),
        (3, "of type int, which can't be read"),
        (iter(ROWS), "which can't be read"),
        (["a.csv"], "row 1: a value of type str where a dict is needed"),
        ([*ROWS, ("p", "r")], "row 5: a value of type tuple where a dict is needed"),
        ([{1: "p"}], "needs a name that is text"),
        ([{"text": "p"}], "no column with a usual name"),
        (
            [{"prompt": "p", "response": object()}],
            "row 1, column «response»: a value of type object where text",
        ),
        ([{"prompt": "p", "response": "\ud800"}], "half of a surrogate pair"),
        ([{"prompt": "p", "response": 10**5000}], "a number of too many digits"),
        ({"prompt": ["p"], "response": []}, "not of the same length"),
        ({"promt": "a.csv"}, "«promt» is no list"),
        ({"train": {"prompt": ["p"]}}, "If its values are splits, give one of them"),
    ],
)
def test_other_things_are_refused_with_the_place(rows: Any, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        load_examples(rows, num_samples=None)
    assert "\n" not in str(caught.value)


def test_columns_of_a_frame_there_twice() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([["a", "b", "c"]], columns=["prompt", "response", "response"])
    with pytest.raises(DataError, match="«response» is there more than once"):
        load_examples(frame, num_samples=None)


def test_a_table_with_text_that_is_none() -> None:
    arrow = pytest.importorskip("pyarrow")
    text = arrow.array([b"p", b"\xff"]).cast(arrow.string(), safe=False)
    with pytest.raises(DataError, match="can't be turned into rows"):
        load_examples(arrow.table({"prompt": text, "response": text}))


def test_a_dict_of_splits_and_a_stream_of_datasets() -> None:
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_list(ROWS)
    with pytest.raises(DataError, match="give one of them"):
        load_examples(datasets.DatasetDict(train=one))
    with pytest.raises(DataError, match="of type IterableDataset, which can't be read"):
        load_examples(one.to_iterable_dataset())


@pytest.mark.parametrize(
    ("examples", "says"),
    [
        ([], "there are no examples"),
        ([Example("p", "")], "example 1, response: empty"),
        ([Example("p", "r"), Example(" ", "r")], "example 2, prompt: empty"),
        ([Example("p", 3)], "example 1, response: a value of type int where text"),  # type: ignore[arg-type]
        ([Example("p", "r", bad_response="\udfff")], "bad_response: the text holds half"),
    ],
)
def test_examples_chosen_by_the_caller_are_checked(examples: list[Example], says: str) -> None:
    with pytest.raises(DataError, match=says):
        checked_examples(examples, "The data")


def test_score_takes_rows(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS), encoding="utf-8")
    data = {"file": path, "dicts": ROWS, "frame": pandas.DataFrame(ROWS)}
    scores = declutch.score(tiny_llama, tiny_tokenizer, data, num_samples=2)
    facts = scores.info.dimensions
    assert [facts[name].source for name in data] == [str(path), "memory", "memory"]
    assert len({facts[name].sha256 for name in data}) == 1
    assert "1 exact duplicate dropped" in facts["dicts"].report[0]
    with pytest.raises(DataError, match="row 1: a value of type int where a dict is needed"):
        declutch.score(tiny_llama, tiny_tokenizer, {"x": [1]})
    with pytest.raises(DataError, match="The data of «x», example 1, response: empty"):
        declutch.score(tiny_llama, tiny_tokenizer, {"x": [Example("p", "")]})


def test_evaluate_takes_rows(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    data = {"privacy": ROWS, "harmless:privacy": [{"prompt": "Who wrote the old song?"}]}
    results = declutch.evaluate(tiny_llama, tiny_tokenizer, data, max_new_tokens=2)
    totals = {metric.name: metric.total for metric in results.metrics}
    assert totals["refused/privacy/refusal"] == 3
    assert totals["over_refusal/privacy/refusal"] == 1
    with pytest.raises(DataError, match="no column with a usual name for its prompts"):
        declutch.evaluate(tiny_llama, tiny_tokenizer, {"privacy": [{"text": "p"}]})
    with pytest.raises(SettingsError, match="at least one dimension"):
        declutch.evaluate(tiny_llama, tiny_tokenizer, {})
