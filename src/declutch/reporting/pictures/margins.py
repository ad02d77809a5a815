"""Preference margins: each pair before against after."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from declutch.comparing.comparison import ComparisonRow
from declutch.reporting import formats, style
from declutch.reporting.picture import Drawing, drawing, in_words, picture
from declutch.reporting.values import ReportInput

Floats = NDArray[np.float64]


@picture("margins", order=80, shows=("margin",))
def margins(report: ReportInput) -> Iterator[Drawing]:
    """A row of panels for each dimension."""
    rows = report.group("margin")
    means = [row for row in rows if row.metric.kind == "mean" and _finite(row).size]
    if means:
        yield drawing(
            "margins",
            "Preference margins",
            "Left: each pair before and after; on the line nothing changed. Right: how much each "
            "pair changed, and the mean with its 95 % interval.",
            margin_panels(means),
            in_words(rows),
        )


def _finite(row: ComparisonRow) -> Floats:
    """``[pairs, 2]``: before and after, where both are numbers."""
    kept = [pair for pair in row.pairs if all(map(math.isfinite, pair))]
    return np.asarray(kept, dtype=np.float64).reshape(-1, 2)


def margin_panels(rows: Sequence[ComparisonRow]) -> Figure:
    """For each row: every pair before against after, and how much each changed."""
    with style.look():
        figure = style.new_figure(9.0, 0.4 + 3.3 * len(rows), hspace=0.06)
        grid = figure.subplots(len(rows), 2, squeeze=False, width_ratios=[1, 1.5])
        for (left, right), row in zip(grid, rows, strict=True):
            values = _finite(row)
            _margin_scatter(left, values, row.metric.dimension or row.name)
            _margin_changes(right, values[:, 1] - values[:, 0], row)
    return figure


def _margin_scatter(axes: Axes, values: Floats, name: str) -> None:
    low, high = float(values.min()), float(values.max())
    room = 0.06 * (high - low or 1)
    ends = (low - room, high + room)
    axes.axhline(0, color=style.FAINT, linewidth=0.9, zorder=0)
    axes.axvline(0, color=style.FAINT, linewidth=0.9, zorder=0)
    axes.plot(ends, ends, color=style.QUIET, linewidth=0.9, zorder=1)
    axes.scatter(
        values[:, 0], values[:, 1], s=20 if len(values) < 400 else 7, color=style.AFTER,
        alpha=0.5, linewidths=0, zorder=2,
    )  # fmt: skip
    axes.set(xlim=ends, ylim=ends, xlabel="margin before", ylabel="margin after")
    axes.set_aspect("equal")
    axes.set_title(f"{name}: {len(values):,} pairs")


def _margin_changes(axes: Axes, changes: Floats, row: ComparisonRow) -> None:
    spread = float(np.abs(changes).max()) or 1.0
    counts, _, _ = axes.hist(
        changes, bins=np.linspace(-spread, spread, 32).tolist(), color="#a9c8e8",
        edgecolor="white", linewidth=0.6,
    )  # fmt: skip
    top = float(np.max(counts))
    axes.axvline(0, color=style.INK, linewidth=1)
    if row.difference is not None:
        y = 1.17 * top
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [y, y], color=style.AFTER, linewidth=2.4)
        axes.plot(row.difference, y, "D", color=style.AFTER, markersize=6)
        text = f"mean change {formats.difference(row)}"
        if formats.difference_interval(row):
            text += f"\n95 % interval {formats.difference_interval(row)}"
        axes.annotate(text, (-spread, 1.42 * top), va="top", fontsize=9.5)
    rose = int((changes > 0).sum())
    axes.annotate(
        f"rose in {rose:,}/{len(changes):,} pairs", (spread, 1.42 * top), ha="right", va="top",
        fontsize=9.5,
    )  # fmt: skip
    axes.set_ylim(0, 1.45 * top)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("change of a pair's margin, after − before (log-probability per token)")
