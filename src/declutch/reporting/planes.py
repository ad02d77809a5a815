"""Figures with a plane: one dimension against another, and pairs before against after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from declutch.reporting import formats, style
from declutch.reporting.values import Row

Floats = NDArray[np.float64]


def trade_off(rows: Sequence[Row], x: str, y: str) -> Figure | None:
    """One dimension's awareness against another's: an arrow before → after for each judge.

    Returns None where no judge judged both.
    """
    found = {
        (row.metric.dimension, row.metric.judge): row
        for row in reversed(rows)
        if row.before and row.after and None not in (row.before.value, row.after.value)
    }
    judges = [judge for dimension, judge in reversed(found) if dimension == x]
    both = [judge for judge in judges if (y, judge) in found]
    if not both:
        return None
    with style.look():
        figure = style.new_figure(6.4, 6.2)
        axes = figure.subplots()
        for index, judge in enumerate(both):
            _arrow(axes, found[x, judge], found[y, judge], index, len(both))
        for axis, name in ((axes.xaxis, x), (axes.yaxis, y)):
            n = found[name, both[0]].metric.total
            axis.set_label_text(f"{name} awareness, %  (n = {n:,})")
        _frame(axes, [found[name, judge] for name in (x, y) for judge in both])
        axes.annotate(
            "both better ↗", (0.985, 0.985), xycoords="axes fraction", ha="right", va="top",
            color=style.QUIET, fontsize=9.5,
        )  # fmt: skip
        style.before_after_key(figure)
    return figure


def _arrow(axes: Axes, across: Row, up: Row, index: int, judges: int) -> None:
    points = []
    for side in ("before", "after"):
        ax, ay = getattr(across, side), getattr(up, side)
        px, py = 100 * ax.value, 100 * ay.value
        points.append((px, py))
        color = style.AFTER if side == "after" else style.BEFORE
        for low, high, horizontal in ((ax.low, ax.high, True), (ay.low, ay.high, False)):
            if low is not None and high is not None:
                span, at = [100 * low, 100 * high], [py if horizontal else px] * 2
                line = (span, at) if horizontal else (at, span)
                axes.plot(*line, color=color, linewidth=1.3, alpha=0.55, zorder=1)
        axes.plot(
            px, py, marker="osD^v"[index % 5], markersize=8.5, color=color, linestyle="none",
            markerfacecolor=color if side == "after" else "white", markeredgewidth=2, zorder=4,
        )  # fmt: skip
    if points[0] != points[1]:
        axes.annotate(
            "", points[1], points[0], zorder=3,
            arrowprops={"arrowstyle": "-|>,head_length=0.55,head_width=0.25", "color": style.INK,
                        "linewidth": 1.5, "shrinkA": 6, "shrinkB": 6},
        )  # fmt: skip
    if judges > 1:
        axes.annotate(
            across.metric.judge or "", points[1], (9, -13), textcoords="offset points",
            fontsize=9.5, color=style.INK, zorder=5,
        )  # fmt: skip


def _frame(axes: Axes, rows: Sequence[Row]) -> None:
    """The same span on both axes, around all intervals, within 0 to 100 %."""
    half = len(rows) // 2
    boxes = []
    for members in (rows[:half], rows[half:]):
        sides = [metric for row in members for metric in (row.before, row.after) if metric]
        values = [v for m in sides for v in (m.low, m.value, m.high) if v is not None]
        boxes.append((100 * min(values), 100 * max(values)))
    span = min(100.0, 1.15 * max(30.0, *(high - low for low, high in boxes)))
    starts = [min(max(0.0, (low + high - span) / 2), max(0.0, 100.0 - span)) for low, high in boxes]
    # A little room, so that a mark at 0 or 100 % is whole.
    room = span / 40
    axes.set_xlim(starts[0] - room, starts[0] + span + room)
    axes.set_ylim(starts[1] - room, starts[1] + span + room)
    axes.set_aspect("equal")
    axes.grid(color=style.FAINT, linewidth=0.7)
    axes.set_axisbelow(True)


def margins(pairs: Mapping[str, Sequence[tuple[float, float]]], rows: Sequence[Row] = ()) -> Figure:
    """For each set: every pair before against after, and how much each changed.

    The mean change and its interval come from the comparison's row of that dimension.
    """
    names = [name for name in pairs if pairs[name]]
    with style.look():
        figure = style.new_figure(9.0, 0.4 + 3.3 * len(names), hspace=0.06)
        grid = figure.subplots(len(names), 2, squeeze=False, width_ratios=[1, 1.5])
        for (left, right), name in zip(grid, names, strict=True):
            values = np.asarray(pairs[name], dtype=np.float64)
            _margin_scatter(left, values, name)
            row = next(
                (r for r in rows if r.metric.kind == "mean" and r.metric.dimension == name), None
            )
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


def _margin_changes(axes: Axes, changes: Floats, row: Row | None) -> None:
    spread = float(np.abs(changes).max()) or 1.0
    counts, _, _ = axes.hist(
        changes, bins=np.linspace(-spread, spread, 32).tolist(), color="#a9c8e8",
        edgecolor="white", linewidth=0.6,
    )  # fmt: skip
    top = float(np.max(counts))
    axes.axvline(0, color=style.INK, linewidth=1)
    if row is not None and row.difference is not None:
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
