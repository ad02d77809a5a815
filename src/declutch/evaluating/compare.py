"""Compare two evaluations of the same suite, item by item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from declutch.comparing.comparison import Comparison, ComparisonRow, MeasureTable, adjusted
from declutch.comparing.results import Metric, Results
from declutch.errors import SettingsError
from declutch.evaluating.keeping import read_measured
from declutch.items import read_items
from declutch.measures.base import Evidence, Measure, all_measures
from declutch.records import differing
from declutch.replies.store import REPLIES_FILE, ReplyRow, read_replies


@dataclass(frozen=True)
class Side:
    """One evaluation: its results, and what was measured of each item.

    Attributes:
        known: by name, the measures whose items can be read.
    """

    directory: Path
    results: Results
    known: Mapping[str, Measure[Any]]

    @classmethod
    def read(cls, directory: Path | str, measures: Sequence[str] = ()) -> Side:
        """Read an evaluation's folder.

        Args:
            measures: those to be known beside the installed ones.

        Raises:
            FileFormatError: a file is missing or damaged.
            SettingsError: a measure is unknown.
        """
        directory = Path(directory)
        known = {one.facts.name: one for one in all_measures(measures)}
        return cls(directory, Results.load(directory, items=True), known)

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """By name."""
        return {metric.name: metric for metric in self.results.metrics}

    @cached_property
    def evidence(self) -> Evidence:
        """All rows, each measure's of its own class."""
        items = {}
        for name in self.results.measures:
            path = self.directory / f"{name}.jsonl"
            measure = self.known.get(name)
            if measure is not None and measure.item is not None and path.exists():
                items[name] = read_items(path, measure.item)
        replies = self.directory / REPLIES_FILE
        judges = self.results.settings.get("judges", {})
        manner = list(self.results.settings.get("manner_judges", ()))
        return Evidence(
            sets=self.results.sets,
            judges=[judge for judge in judges if judge not in manner],
            manner_judges=manner,
            replies=read_replies(self.directory) if replies.exists() else [],
            items=items,
            facts=read_measured(self.directory).facts,
            lengths=self.results.settings.get("lengths", ()),
        )


def compare(
    before: Path | str, after: Path | str, *, seed: int = 0, measures: Sequence[str] = ()
) -> Comparison:
    """Compare the results in two folders, metric by metric, over the items that both have.

    Args:
        seed: of the paired bootstrap.
        measures: those of one's own that were evaluated, as ``FILE.py:NAME``. No file is run that
            is not named here: results may be another's.

    Raises:
        SettingsError: the two were not made the same way (decoding, max_length, judges), or have
            nothing in common; the message names what differs.
        FileFormatError: a file is missing or damaged.
    """
    first, second = Side.read(before, measures), Side.read(after, measures)
    _check_settings(first, second)
    notes = _differences(first, second)
    rows: list[ComparisonRow] = []
    tables: dict[str, MeasureTable] = {}
    for name in (name for name in first.results.measures if name in second.results.measures):
        measure = first.known.get(name)
        if measure is None:
            notes.append(
                f"The measure «{name}» is not installed here, so it is not compared. One in a file "
                "is given with --measure FILE.py:NAME."
            )
            continue
        found, said = _compare_measure(measure, first, second, seed)
        rows += found
        notes += said
        if table := measure.table(first.evidence, second.evidence, seed):
            tables[name] = table
    notes += _one_sided(first, second)
    if not rows:
        raise SettingsError(
            f"{before} and {after} have no metric in common: they are of different suites."
        )
    return Comparison(
        first.results, second.results, adjusted(rows), tuple(dict.fromkeys(notes)), tables=tables,
        replies=_replies(first.evidence, second.evidence),
    )  # fmt: skip


def _replies(before: Evidence, after: Evidence) -> tuple[tuple[ReplyRow, ReplyRow], ...]:
    """Replies to the same prompt, in the order of the first."""
    others = {row.pairing: row for row in after.replies}
    return tuple((r, others[r.pairing]) for r in before.replies if r.pairing in others)


def _compare_measure(
    measure: Measure[Any], first: Side, second: Side, seed: int
) -> tuple[list[ComparisonRow], Sequence[str]]:
    rows, notes = measure.compare(
        (first.evidence, first.metrics), (second.evidence, second.metrics), seed
    )
    compared = {row.name for row in rows}
    lost = [
        name
        for name, metric in first.metrics.items()
        if metric.group == measure.facts.name and name in second.metrics and name not in compared
    ]
    if lost:
        notes = [*notes, f"Not compared, since their items are not there: {', '.join(lost)}."]
    return [replace(row, measure=measure.facts) for row in rows], notes


def _check_settings(first: Side, second: Side) -> None:
    """Refuse results that were made in different ways."""
    old, new = first.results.settings, second.results.settings
    # A text cut elsewhere is another text; another draw of one way of sampling is only noted.
    ways = [
        {**each.get("decoding", {}), "seed": None, "max_length": each.get("max_length")}
        for each in (old, new)
    ]
    differences = differing(ways[0], ways[1], ("before", "after"))
    judges = old.get("judges", {}), new.get("judges", {})
    for judge in sorted({*judges[0]} & {*judges[1]}):
        differences += [
            f"judge {judge}: {each}"
            for each in differing(judges[0][judge], judges[1][judge], ("before", "after"))
        ]
    if differences:
        raise SettingsError(
            f"{first.directory} and {second.directory} can't be compared: "
            f"{'; '.join(differences)}. Evaluate both with the same settings."
        )


def _differences(first: Side, second: Side) -> list[str]:
    """What differs and may matter, without making the comparison wrong."""
    old, new = first.results, second.results
    notes = []
    if old.settings.get("suite_sha256") != new.settings.get("suite_sha256"):
        notes.append(
            "The two evaluations are not on the same prompts, pairs and passages; only what both "
            "have is compared."
        )
    if old.model.dtype != new.model.dtype:
        notes.append(
            f"The models were evaluated in different types: {old.model.dtype} before, "
            f"{new.model.dtype} after."
        )
    seeds = [each.settings.get("decoding", {}).get("seed") for each in (old, new)]
    if seeds[0] != seeds[1]:
        notes.append(f"Replies were sampled with seed {seeds[0]} before and {seeds[1]} after.")
    sizes = old.settings.get("batch_size"), new.settings.get("batch_size")
    if sizes[0] != sizes[1] and {old.model.dtype, new.model.dtype} != {"float32"}:
        notes.append(
            f"The batch size is {sizes[0]} before and {sizes[1]} after; outside float32 that "
            "alone can change a reply."
        )
    notes += [
        f"{key} is {value} before and {new.versions[key]} after."
        for key, value in old.versions.items()
        if new.versions.get(key, value) != value
    ]
    # What each evaluation says of itself, such as another version of a suite's data.
    return notes + [str(note) for each in (old, new) for note in each.settings.get("notes") or ()]


def _one_sided(first: Side, second: Side) -> list[str]:
    return [
        f"Only {where}: {', '.join(alone)}."
        for side, other, where in ((first, second, "before"), (second, first, "after"))
        if (alone := [name for name in side.metrics if name not in other.metrics])
    ]
