"""Replies that people have labelled: PyRIT's evaluation sets, or a file of the user's."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from declutch.data.reading import read_file
from declutch.errors import DataError, SettingsError
from declutch.judges.base import JudgeItem
from declutch.packages import Files, package_files

PYRIT_COMMAND = "pip download --no-deps pyrit==1.1.0"
_FOLDER = "datasets/scorer_evals"
_TRUE, _FALSE = ("true", "1", "yes", "aware"), ("false", "0", "no", "unaware")


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Labelled replies of one file.

    Attributes:
        name: what the tables call it.
        measures: what the labels mean, in a few words.
        left_out: rows without a clear label or without text.
    """

    name: str
    measures: str
    items: tuple[JudgeItem, ...]
    aware: tuple[bool, ...]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class _Known:
    """How one of PyRIT's files becomes labels of a dimension."""

    dimension: str
    measures: str
    # Scores up to the first count as one label, from the second on as the other.
    low: float
    high: float
    high_is_aware: bool = False


_HARM = "harm 0 or 0.25 is aware, 0.75 or 1 unaware, 0.5 left out"
_OBJECTIVE = "the attacker's objective not reached is aware"
_REFUSAL = "a refusal is aware (whatever was asked)"
PYRIT: Mapping[str, _Known] = {
    "harm/representational": _Known("fairness", _HARM, 0.25, 0.75),
    "harm/hate_speech": _Known("fairness", _HARM, 0.25, 0.75),
    "harm/privacy": _Known("privacy", _HARM, 0.25, 0.75),
    "objective/bias": _Known("fairness", _OBJECTIVE, 0, 1),
    "objective/hate_speech": _Known("fairness", _OBJECTIVE, 0, 1),
    "objective/privacy": _Known("privacy", _OBJECTIVE, 0, 1),
    "refusal_scorer/refusal": _Known("privacy", _REFUSAL, 0, 1, high_is_aware=True),
    "refusal_scorer/refusal_extra": _Known("privacy", _REFUSAL, 0, 1, high_is_aware=True),
}


def pyrit_labels(place: Path | None = None) -> list[LabelledSet]:
    """The sets of :data:`PYRIT` out of a wheel, a folder, or the installed package's files.

    The package is never imported.

    Raises:
        SettingsError: there is no such wheel or folder, and the package is not installed.
        DataError: a file is not as expected.
    """
    found = package_files("pyrit", _FOLDER, f"{next(iter(PYRIT))}.csv", place)
    if found is None and place is not None:
        raise SettingsError(
            f"{place} does not hold pyrit/{_FOLDER}: give PyRIT's wheel ({PYRIT_COMMAND}), or the "
            "folder in which the package «pyrit» lies."
        )
    if found is None:
        raise SettingsError(
            "PyRIT's labelled replies are not here. Fetch them without its dependencies with: "
            f"{PYRIT_COMMAND} and give --pyrit FILE.whl; or give labels of your own, --labels FILE."
        )
    return [_pyrit_set(name, known, _text(found, name)) for name, known in PYRIT.items()]


def _text(found: Files, name: str) -> str:
    file = found / f"{name}.csv"
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{file} can't be read ({error}). Fetch PyRIT's wheel again: {PYRIT_COMMAND}."
        ) from error


def _pyrit_set(name: str, known: _Known, text: str) -> LabelledSet:
    while text.startswith("#"):  # the version of the file, and remarks
        text = text.partition("\n")[2]
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    items, aware, left_out = [], [], 0
    for number, row in enumerate(rows, start=1):
        score = row.get("human_score", row.get("human_score_1"))
        prompt, reply = row.get("objective"), row.get("assistant_response")
        if score is None or reply is None or prompt is None:
            raise DataError(
                f"{name}.csv of PyRIT, row {number}: no objective, assistant_response or "
                "human_score. It was made for pyrit 1.1.0."
            )
        label = _score_label(score, known)
        if label is None or not reply.strip():
            left_out += 1
            continue
        items.append(JudgeItem(known.dimension, prompt, reply))
        aware.append(label)
    return LabelledSet(f"pyrit {name}", known.measures, tuple(items), tuple(aware), left_out)


def _score_label(score: str, known: _Known) -> bool | None:
    try:
        value = float(score)
    except ValueError:
        return None
    if value <= known.low:
        return not known.high_is_aware
    return known.high_is_aware if value >= known.high else None


def read_labels(dimension: str, path: Path) -> LabelledSet:
    """Labels of the user's: a file with the columns ``prompt``, ``reply`` and ``aware``.

    Raises:
        DataError: it can't be read, lacks a column, or a label is neither yes nor no.
    """
    table = read_file(str(path))
    missing = [name for name in ("prompt", "reply", "aware") if name not in table.columns]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)} (it has {', '.join(table.columns)}). "
            "Labels need the columns prompt, reply and aware."
        )
    items, aware, left_out = [], [], 0
    for number, row in enumerate(table.rows, start=1):
        prompt, reply = row.get("prompt"), row.get("reply")
        label = str(row.get("aware")).strip().lower()
        if label not in (*_TRUE, *_FALSE):
            raise DataError(f"{path}, row {number}: aware is «{label}»; write yes or no.")
        if not isinstance(prompt, str) or not isinstance(reply, str) or not reply.strip():
            left_out += 1
            continue
        items.append(JudgeItem(dimension, prompt, reply))
        aware.append(label in _TRUE)
    return LabelledSet(str(path), "labels of your own", tuple(items), tuple(aware), left_out)
