"""An evaluation in the form of another tool: where forms are found, and what they are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from declutch.comparing.results import Results, SetFacts
from declutch.comparing.series import Series
from declutch.evaluating.compare import Side
from declutch.files import write_json, write_jsonl
from declutch.registry import Registry
from declutch.replies.store import ReplyRow

# What another tool reads, by file name: rows for a name that ends in .jsonl, else one JSON value.
Files = dict[str, Any]

EXPORTS: Registry[Callable[[Side], Files]] = Registry(
    "export", "declutch.reporting.exports", "--to"
)


@dataclass(frozen=True)
class ScoredSet:
    """One prompt set that was replied to.

    Attributes:
        series: what was found of its replies, where that is one number or a yes or no of each, by
            the reply's ``pairing``.
    """

    facts: SetFacts
    rows: Sequence[ReplyRow]
    series: Sequence[Series]

    @property
    def name(self) -> str:
        """Unique in the evaluation."""
        return f"{self.facts.suite}/{self.facts.set}"


def export(
    results: Path | str, to: str, out: Path | str, *, measures: Sequence[str] = ()
) -> tuple[Path, ...]:
    """Write an evaluation for another tool.

    Args:
        results: the folder that ``evaluate`` wrote.
        to: ``inspect`` (logs of inspect_ai), ``lm-eval`` (lm-evaluation-harness), or one of yours.
        out: the folder to write into. Names hold the model and the time of the evaluation, so one
            folder takes any number of evaluations.
        measures: those of one's own that were evaluated, as ``FILE.py:NAME``.

    Returns:
        The files.

    Raises:
        SettingsError: there is no such form, or a measure is unknown.
        FileFormatError: a file of the evaluation is missing or damaged.
    """
    form = EXPORTS.get(to)
    files = EXPORTS.call(to, form, dict, Side.read(results, measures))
    for name, value in files.items():
        (write_jsonl if name.endswith(".jsonl") else write_json)(Path(out) / name, value)
    return tuple(Path(out) / name for name in files)


def scored_sets(side: Side) -> list[ScoredSet]:
    """The prompt sets, each with the metrics that have one value a reply."""
    found = all_series(side).values()
    sets = []
    for facts in side.results.sets:
        rows = side.evidence.rows(facts)
        known = {row.pairing for row in rows}
        own = [one for one in found if one.values and known.issuperset(one.values)]
        sets.append(ScoredSet(facts, rows, [one for one in own if _single(one.values)]))
    return sets


def all_series(side: Side) -> dict[str, Series]:
    """The items of each metric, by its name; those of a measure that is not known are missing."""
    measures = [side.known[name] for name in side.results.measures if name in side.known]
    series = [one for measure in measures for one in measure.series(side.evidence)]
    return {one.name: one for one in series if one.name in side.metrics}


def _single(values: Mapping[str, Any]) -> bool:
    return all(isinstance(value, bool | int | float | None) for value in values.values())


def model_name(results: Results) -> str:
    """Other tools put together what has one name, so a patched model has another."""
    patch = results.patch
    return results.model.id + (f"+patch-{patch.checksum[:12]}" if patch else "")
