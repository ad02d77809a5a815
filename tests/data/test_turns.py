"""Conversations in all the forms that data sets have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from declutch.data.loading import LoadedData, load_examples
from declutch.errors import DataError

Row = dict[str, Any]


def load(folder: Path, *rows: Row, query: str = "", **options: Any) -> LoadedData:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return load_examples(f"{path}{query}", num_samples=None, **options)


def said(content: Any, role: str = "user") -> Row:
    return {"role": role, "content": content}


def answer(content: Any) -> Row:
    return said(content, "assistant")


def text(content: str, **more: Any) -> Row:
    return {"type": "text", "text": content, **more}


def test_user_turns_in_a_row_are_one_prompt_and_said(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "a"}, {"from": "human", "value": "b"}]
    data = load(tmp_path, {"conversations": [*turns, {"from": "gpt", "value": "r"}]})
    assert data.examples[0].prompt == "a\n\nb"
    assert data.report.joined_turns == 1
    assert "1 conversation had several user turns before" in " ".join(data.report.lines())


@pytest.mark.parametrize(
    "turns",
    [
        [answer("Hello!"), said("p"), answer("r")],
        [said("p"), said("{}", "tool"), answer("r")],
        [said("p"), answer(None), said("42", "tool"), answer("r")],
        [said("p"), said("x", "moderator"), answer("r")],
    ],
)
def test_other_turns_before_the_response_are_counted(tmp_path: Path, turns: list[Row]) -> None:
    data = load(tmp_path, {"messages": turns})
    assert (data.examples[0].prompt, data.examples[0].response) == ("p", "r")
    assert data.report.other_turns == 1
    assert "1 conversation had other turns before" in " ".join(data.report.lines())


def test_nothing_left_out_is_nothing_counted(tmp_path: Path) -> None:
    report = load(tmp_path, {"messages": [said("p"), answer("r")]}).report
    assert not any(
        (report.system_turns, report.joined_turns, report.other_turns, report.later_turns)
    )
    assert report.unfit == ()


def test_parts_of_text_are_joined(tmp_path: Path) -> None:
    content = [text("p", image=None), text("q")]
    data = load(
        tmp_path,
        {"messages": [said(content), answer([text("r")])]},
        {"messages": [said(["x", "y"]), answer("z")]},
    )
    assert [(e.prompt, e.response) for e in data.examples] == [("pq", "r"), ("xy", "z")]
    plain = load(tmp_path, {"prompt": [text("p")], "response": [text("r")]})
    assert (plain.examples[0].prompt, plain.examples[0].response) == ("p", "r")


def test_parts_that_are_no_text_drop_the_row_and_are_counted(tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": "x"}}
    good: Row = {"messages": [said("p"), answer("r"), said([picture])]}  # a later turn
    data = load(tmp_path, good, {"messages": [said([text("p"), picture]), answer("r")]})
    assert len(data.examples) == 1
    (unfit,) = data.report.unfit
    assert (unfit.count, unfit.rows) == (1, (2,))
    assert "no text (pictures, calls) dropped (row 2)" in data.report.lines()[0]
    json.dumps(data.report.as_dict())


PAIRS: list[tuple[str, Row]] = [
    ("prompt and completion", {"prompt": [said("p")], "completion": [answer("r")]}),
    (
        "explicit prompt",
        {"prompt": [said("p")], "chosen": [answer("r")], "rejected": [answer("b")]},
    ),
    (
        "implicit prompt",
        {"chosen": [said("p"), answer("r")], "rejected": [said("p"), answer("b")]},
    ),
    (
        "text prompt, repeated",
        {"prompt": "p", "chosen": [said("p"), answer("r")], "rejected": [said("p"), answer("b")]},
    ),
    ("one turn each", {"prompt": "p", "chosen": answer("r"), "rejected": answer("b")}),
    (
        "parts",
        {"prompt": [said([text("p")])], "chosen": [answer([text("r")])], "rejected": "b"},
    ),
]


@pytest.mark.parametrize("row", [row for _, row in PAIRS], ids=[name for name, _ in PAIRS])
def test_turns_in_columns_of_their_own(tmp_path: Path, row: Row) -> None:
    (example,) = load(tmp_path, row).examples
    assert (example.prompt, example.response) == ("p", "r")
    assert example.bad_response == ("b" if "rejected" in row else None)


def test_named_columns_of_turns(tmp_path: Path) -> None:
    row = {"conversations": [said("p")], "chosen": answer("r"), "rejected": answer("b")}
    query = "?prompt=conversations&response=chosen"
    (example,) = load(tmp_path, row, query=query).examples
    assert (example.prompt, example.response, example.bad_response) == ("p", "r", "b")


def test_prompts_alone_as_turns(tmp_path: Path) -> None:
    row = {"prompt": [said("Be brief.", "system"), said("p")]}
    data = load(tmp_path, row, require_response=False)
    assert data.examples[0].prompt == "p"
    assert data.report.system_turns == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            {"prompt": [said("a"), answer("b"), said("p")], "completion": [answer("r")]},
            "after an earlier exchange",
        ),
        (
            {
                "chosen": [said("a"), answer("b"), said("p"), answer("r")],
                "rejected": [said("a"), answer("b"), said("p"), answer("x")],
            },
            "after an earlier exchange",
        ),
        (
            {"chosen": [said("p"), answer("r")], "rejected": [said("q"), answer("b")]},
            "to another prompt",
        ),
        ({"prompt": "q", "chosen": [said("p"), answer("r")]}, "begins with another prompt"),
    ],
)
def test_pairs_that_are_no_one_exchange_are_dropped_and_counted(
    tmp_path: Path, row: Row, reason: str
) -> None:
    good = {name: [said("good"), answer("r")] for name in row if name != "prompt"}
    if "prompt" in row:
        good["prompt"] = [said("good")]
    report = load(tmp_path, good, row).report
    assert report.used == 1
    assert reason in report.unfit[0].reason
    assert "(row 2)" in report.lines()[0]


def test_pairs_that_part_at_the_first_reply_lose_only_later_turns(tmp_path: Path) -> None:
    rest = [said("more"), answer("x")]
    row = {"chosen": [said("p"), answer("r"), *rest], "rejected": [said("p"), answer("b"), *rest]}
    data = load(tmp_path, row)
    assert data.examples[0].bad_response == "b"
    assert data.report.later_turns == 1


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"messages": [said("p"), {"role": "assistant"}]}, "turn 2: a turn needs role and content"),
        ({"messages": [{"role": 3, "content": "p"}]}, "turn 1: a turn needs role and content"),
        ({"messages": {"role": ["user"], "content": []}}, "not of the same length"),
        ({"messages": '[{"role": "user"}]'}, "A CSV file can't hold lists"),
        ({"messages": [said({"a": 1})]}, "turn 1: named values where text is needed"),
        ({"prompt": "p", "response": [answer("r"), "x"]}, "turn 2: a turn needs"),
        ({"prompt": "p", "response": [1]}, "a list where text is needed"),
        ({"chosen": "\n\nHuman: p\n\nAssistant: r"}, "there is no column of prompts"),
    ],
)
def test_what_can_not_be_read_names_row_and_column(tmp_path: Path, row: Row, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        load(tmp_path, row)
    assert "row 1, column «" in str(caught.value)


def test_turns_in_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"messages": [said([text("p")]), answer([text("r")])], "id": b"one"}]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    (example,) = load_examples(tmp_path / "a.parquet", num_samples=None).examples
    assert (example.prompt, example.response, example.id) == ("p", "r", "one")
