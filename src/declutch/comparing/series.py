"""What was measured of each item behind a metric: what makes the metric, and pairs two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from declutch.comparing.clusters import cluster_labels
from declutch.comparing.comparison import ComparisonRow
from declutch.comparing.kinds import Kind
from declutch.comparing.results import Better, Metric
from declutch.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Series:
    """The items of one metric.

    Attributes:
        name: the metric's, unique among a result's, as ``awareness/fairness/heuristic``.
        kind: how values are summed up and compared.
        values: by the item's id; None where an item does not count.
        label: what it is called among those of its measure.
    """

    name: str
    kind: Kind
    values: Mapping[str, Any]
    dimension: str | None = None
    judge: str | None = None
    better: Better = "none"
    note: str = ""
    label: str = ""

    def metric(
        self, group: str, seed: int = 0, clusters: Mapping[str, str] | None = None
    ) -> Metric:
        """The number over the items that count.

        Args:
            group: the measure that it belongs to.
            seed: of bootstrap intervals.
            clusters: by id what an item belongs to; items without are independent.
        """
        counted = {key: value for key, value in self.values.items() if value is not None}
        labels = cluster_labels(list(counted), clusters)
        summary = self.kind.summary(list(counted.values()), seed, labels)
        note = self.note
        if summary.clusters is not None:
            note = "; ".join(filter(None, [note, f"in {summary.clusters:,} clusters"]))
        return Metric(
            name=self.name,
            group=group,
            dimension=self.dimension,
            judge=self.judge,
            kind=self.kind.shown,
            better=self.better,
            note=note,
            label=self.label,
            **asdict(summary),
        )


def compare_series(
    before: Metric,
    after: Metric,
    old: Series,
    new: Series,
    seed: int = 0,
    clusters: Mapping[str, str] | None = None,
) -> tuple[ComparisonRow, list[str]]:
    """One metric before and after, over the items that both have.

    Returns:
        The row, and what a reader must know of what was left out.

    Raises:
        SettingsError: the items of the two can't be set against each other.
    """
    row = ComparisonRow(name=before.name, before=before, after=after)
    for side, metric in (("before", before), ("after", after)):
        if metric.value is None and metric.total:
            why = metric.note or "nothing that counts"
            return row, [f"{metric.said} has no value {side}: {why}."]
    if before.kind != after.kind:
        kinds = f"a {before.kind} before and a {after.kind} after"
        return row, [f"{before.said} is {kinds}, so the two are not compared."]
    both = [key for key in old.values if key in new.values]
    notes = []
    if alone := len(old.values) + len(new.values) - 2 * len(both):
        notes.append(f"{before.said}: {_items(alone)} in one evaluation only, and left out.")
    paired = {
        key: (old.values[key], new.values[key])
        for key in both
        if old.values[key] is not None and new.values[key] is not None
    }
    if len(paired) < len(both):
        notes.append(
            f"{before.said}: of {len(both)}, {_items(len(both) - len(paired))} left out of the "
            "difference, for want of a value before or after."
        )
    if not paired:
        return row, notes
    try:
        lefts, rights = zip(*paired.values(), strict=True)
        labels = cluster_labels(list(paired), clusters)
        found = old.kind.paired(lefts, rights, seed, labels)
    except SettingsError as error:
        raise SettingsError(f"{before.name}: {error}") from error
    return replace(row, **asdict(found), pairs=tuple(paired.values()), labels=tuple(labels)), notes


def _items(count: int) -> str:
    return "1 item is" if count == 1 else f"{count} items are"
