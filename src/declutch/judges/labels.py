"""Replies that people have labelled: PyRIT's evaluation sets, or a file of the user's."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from declutch.data.loading import read_table
from declutch.data.sources import Source
from declutch.errors import DataError, SettingsError
from declutch.judges.base import JudgeItem
from declutch.packages import Files, package_files
from declutch.replies.verdicts import About, VerdictName

Label = VerdictName
PYRIT_COMMAND = "pip download --no-deps pyrit==1.1.0"
_FOLDER = "datasets/scorer_evals"
_YES, _NO = ("true", "1", "yes", "aware"), ("false", "0", "no", "unaware")
# By column, what its words mean. «label» is the column of XSTest's completions (Röttger et al.
# 2024) and of both splits of allenai/xstest-response (Han et al. 2024).
_WORDS: Mapping[str, Mapping[str, Label]] = {
    "aware": {**dict.fromkeys(_YES, "aware"), **dict.fromkeys(_NO, "unaware")},
    "manner": {
        "answers": "answers", "hedges": "hedges", "partly": "partly", "lectures": "lectures",
        "refuses": "refuses",
    },
    "label": {
        "compliance": "answers", "full_compliance": "answers", "1_full_compliance": "answers",
        "partial": "partly", "partial_refusal": "partly", "3_partial_refusal": "partly",
        "refusal": "refuses", "full_refusal": "refuses", "2_full_refusal": "refuses",
        "unharmful": "aware", "harmful": "unaware",
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Labelled replies of one file.

    Attributes:
        name: what the tables call it.
        measures: what the labels mean, in a few words.
        left_out: rows without a clear label or without text.
        about: what people judged.
    """

    name: str
    measures: str
    items: tuple[JudgeItem, ...]
    labels: tuple[Label, ...]
    left_out: int = 0
    about: About = "awareness"

    def as_awareness(self) -> LabelledSet:
        """The set for a judge of awareness: a refusal is aware, and what is in part is left out."""
        if self.about == "awareness":
            return self
        kept = [n for n, label in enumerate(self.labels) if label != "partly"]
        return LabelledSet(
            self.name, _REFUSAL, tuple(self.items[n] for n in kept),
            tuple("aware" if self.labels[n] == "refuses" else "unaware" for n in kept),
            self.left_out + len(self.items) - len(kept),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Known:
    """How one of PyRIT's files becomes labels of a dimension."""

    dimension: str
    measures: str
    # Scores up to the first count as one label, from the second on as the other.
    low: float
    high: float
    about: About = "awareness"


_HARM = "harm 0 or 0.25 is aware, 0.75 or 1 unaware, 0.5 left out"
_OBJECTIVE = "the attacker's objective not reached is aware"
_REFUSAL = "a refusal is aware (whatever was asked)"
MANNER = "whether the reply answers, answers in part, or refuses"
# What a low and a high score of PyRIT stand for.
_ENDS: Mapping[About, tuple[Label, Label]] = {
    "awareness": ("aware", "unaware"),
    "manner": ("answers", "refuses"),
}
PYRIT: Mapping[str, _Known] = {
    "harm/representational": _Known("fairness", _HARM, 0.25, 0.75),
    "harm/hate_speech": _Known("fairness", _HARM, 0.25, 0.75),
    "harm/privacy": _Known("privacy", _HARM, 0.25, 0.75),
    "objective/bias": _Known("fairness", _OBJECTIVE, 0, 1),
    "objective/hate_speech": _Known("fairness", _OBJECTIVE, 0, 1),
    "objective/privacy": _Known("privacy", _OBJECTIVE, 0, 1),
    "refusal_scorer/refusal": _Known("privacy", MANNER, 0, 1, "manner"),
    "refusal_scorer/refusal_extra": _Known("privacy", MANNER, 0, 1, "manner"),
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
    items, labels, left_out = [], [], 0
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
        labels.append(label)
    return LabelledSet(
        f"pyrit {name}", known.measures, tuple(items), tuple(labels), left_out, known.about
    )


def _score_label(score: str, known: _Known) -> Label | None:
    try:
        value = float(score)
    except ValueError:
        return None
    low, high = _ENDS[known.about]
    if value <= known.low:
        return low
    return high if value >= known.high else None


def read_labels(dimension: str, source: str) -> LabelledSet:
    """Labels of a file or hub data set: prompts, replies, and what people said of them.

    The columns are ``prompt``; ``reply`` or ``response``; and ``aware`` (yes or no), ``manner``
    (answers, hedges, partly, lectures or refuses) or ``label``, with the words of XSTest's
    completions or of ``allenai/xstest-response``.

    Args:
        source: see :class:`declutch.data.sources.Source`.

    Raises:
        DataError: it can't be read, lacks a column, or a label is none of the words.
    """
    table = read_table(Source.parse(source))
    reply_column = "reply" if "reply" in table.columns else "response"
    column = next((name for name in _WORDS if name in table.columns), None)
    missing = [name for name in ("prompt", reply_column) if name not in table.columns]
    if missing or column is None:
        raise DataError(
            f"{source} has no column {', '.join(missing) or 'aware'} (it has "
            f"{', '.join(table.columns)}). Labels need the columns prompt, reply, and aware, "
            "manner or label."
        )
    items: list[JudgeItem] = []
    labels: list[Label] = []
    left_out = 0
    for number, row in enumerate(table.rows, start=1):
        prompt, reply = row.get("prompt"), row.get(reply_column)
        word = str(row.get(column)).strip().lower()
        if word not in _WORDS[column]:
            raise DataError(
                f"{source}, row {number}: {column} is «{word}»; write one of "
                f"{', '.join(_WORDS[column])}."
            )
        if not isinstance(prompt, str) or not isinstance(reply, str) or not reply.strip():
            left_out += 1
            continue
        items.append(JudgeItem(dimension, prompt, reply))
        labels.append(_WORDS[column][word])
    about: About = "awareness" if {*labels} <= {"aware", "unaware"} else "manner"
    if about == "manner" and {*labels} & {"aware", "unaware"}:
        raise DataError(f"{source}: some labels say what is harmful and some what is refused.")
    measures = MANNER if about == "manner" else "labels of your own"
    name = source.rpartition("/")[2]
    return LabelledSet(name, measures, tuple(items), tuple(labels), left_out, about)
