"""Rows of several sets of prompts as one: a dimension by a judge, over all their prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from declutch.comparing.comparison import ComparisonRow
from declutch.comparing.kinds import PROPORTION
from declutch.comparing.series import Series, compare_series


def pooled(rows: Sequence[ComparisonRow]) -> list[ComparisonRow]:
    """One row for each measure, dimension and judge: of one set as it is, of several joined.

    Shares alone are joined; each prompt counts once, so that a larger set weighs more. What stands
    beside the difference are the values over the prompts that both sides have.
    """
    groups: dict[tuple[object, ...], list[ComparisonRow]] = {}
    for row in rows:
        metric = row.metric
        alone = None if metric.kind == PROPORTION.shown and row.pairs else row.name
        groups.setdefault((metric.group, metric.dimension, metric.judge, alone), []).append(row)
    return [group[0] if len(group) == 1 else _joined(group) for group in groups.values()]


def _joined(rows: Sequence[ComparisonRow]) -> ComparisonRow:
    first = rows[0].metric
    name = f"{first.group}/{first.dimension} in {len(rows)} sets/{first.judge}"
    values: list[dict[str, bool]] = [{}, {}]
    clusters: dict[str, str] = {}
    for row in rows:
        for place, pair in enumerate(row.pairs):
            key = f"{row.name}#{place}"
            for side, value in zip(values, pair, strict=True):
                side[key] = value
            if row.labels:
                clusters[key] = f"{row.name}#{row.labels[place]}"
    old, new = (
        Series(name, PROPORTION, side, first.dimension, first.judge, first.better)
        for side in values
    )
    before, after = (side.metric(first.group, clusters=clusters) for side in (old, new))
    joined, _ = compare_series(before, after, old, new, clusters=clusters)
    return replace(joined, measure=rows[0].measure)
