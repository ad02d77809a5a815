"""Figures of counts and metrics. Each function returns a Figure and draws nothing on a screen.

Every number shown comes with its interval; nothing is smoothed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from declutch.comparing.comparison import ComparisonRow
from declutch.comparing.results import Metric
from declutch.reporting import formats, style
from declutch.reporting.values import layer_series


def before_after(rows: Sequence[ComparisonRow]) -> Figure:
    """Dots with intervals, one line a metric; a panel for each group and unit.

    For awareness, over-refusal, kinds of replies, capability and whatever comes later.
    """
    panels: dict[tuple[str, str], list[ComparisonRow]] = {}
    for row in rows:
        panels.setdefault((row.metric.group, row.metric.kind), []).append(row)
    several = len({group for group, _ in panels}) > 1
    with style.look():
        # No wider than can be read on a telephone, where it is shrunk to half.
        figure = style.new_figure(7.0, 0.7 + 0.52 * len(rows) + 0.75 * len(panels), hspace=0.05)
        axes_of = figure.subplots(
            len(panels),
            1,
            squeeze=False,
            height_ratios=[len(panel) for panel in panels.values()],
        )
        for axes, panel in zip(axes_of[:, 0], panels.values(), strict=True):
            _dots(axes, panel)
            if several:
                axes.set_title(panel[0].measure.title)
        style.before_after_key(figure)
    return figure


def _dots(axes: Axes, rows: Sequence[ComparisonRow]) -> None:
    percent = rows[0].metric.kind == "proportion"
    factor = 100.0 if percent else 1.0
    for y, row in enumerate(rows):
        texts = []
        for metric, after in ((row.before, False), (row.after, True)):
            texts.append(formats.short_value(metric))
            if metric.value is not None:
                low, high = (
                    None if end is None else factor * end for end in (metric.low, metric.high)
                )
                style.interval_dot(
                    axes, y + (0.17 if after else -0.17), factor * metric.value, low, high,
                    after=after,
                )  # fmt: skip
        axes.annotate(
            " → ".join(texts), (1.02, y), xycoords=("axes fraction", "data"), va="center",
            fontsize=9.5,
        )  # fmt: skip
        if y:
            axes.axhline(y - 0.5, color=style.FAINT, linewidth=0.7)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [row.metric.label for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=style.FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    if percent:
        # From 0 always: a cut axis makes noise look like news.
        axes.set_xlim(-1.5, max(20.0, min(101.5, 8 * math.ceil(_highest(rows) * 100 / 8) + 4)))
        axes.set_xlabel("% (bars: 95 % interval; right: counts)")
    else:
        axes.set_xlabel(f"{rows[0].metric.kind} (bars: 95 % interval)")


def _highest(rows: Sequence[ComparisonRow]) -> float:
    sides = [metric for row in rows for metric in (row.before, row.after)]
    return max([0.0, *(metric.high or metric.value or 0.0 for metric in sides)])


def by_layer(rows: Sequence[ComparisonRow]) -> Figure | None:
    """Lines over the layers, before and after, a panel for each series; None without one."""
    series = layer_series(rows)
    return curves(series, "layer") if series else None


def curves(
    series: Mapping[str, Sequence[tuple[int, ComparisonRow]]], axis: str, *, doubling: bool = False
) -> Figure:
    """Lines before and after, a panel for each series.

    Args:
        series: by the metric's name, values by what they depend on.
        axis: what that is.
        doubling: whether it doubles from one value to the next.
    """
    columns = 2 if len(series) > 1 else 1
    lines = math.ceil(len(series) / columns)
    with style.look():
        figure = style.new_figure(4.5 * columns + (2 if columns == 1 else 0), 0.5 + 2.6 * lines)
        grid = figure.subplots(lines, columns, squeeze=False)
        for axes in grid.flat[len(series) :]:
            axes.remove()
        for axes, (name, points) in zip(grid.flat, series.items(), strict=False):
            for side, color in (("before", style.BEFORE), ("after", style.AFTER)):
                _line(axes, [(at, getattr(row, side)) for at, row in points], color)
            axes.set_title(name.split("/", 1)[-1].replace("_", " ").replace("/", " · "))
            axes.set_xlabel(axis)
            if doubling:
                at = [each for each, _ in points]
                axes.set_xscale("log", base=2)
                axes.set_xticks(at, [f"{each:,}" for each in at])
            axes.grid(axis="y", color=style.FAINT, linewidth=0.7)
            axes.margins(x=0.02)
            # 0 is on the axis: dependence has a true zero, and a cut axis would exaggerate.
            low, high = axes.get_ylim()
            axes.set_ylim(min(0.0, low), max(0.0, high))
        style.before_after_key(figure)
    return figure


def _line(axes: Axes, points: Sequence[tuple[int, Metric]], color: str) -> None:
    known = [(at, m) for at, m in points if m.value is not None]
    if not known:
        return
    factor = 1.0
    if known[0][1].kind == "proportion":
        factor = 100.0
        axes.set_ylabel("%")
    axes.plot(
        [at for at, _ in known], [factor * (m.value or 0.0) for _, m in known],
        color=color, linewidth=1.8,
        linestyle="-" if color == style.AFTER else (0, (4, 1.5)), marker="o", markersize=3,
    )  # fmt: skip
    banded = [
        (at, factor * m.low, factor * m.high)
        for at, m in known
        if m.low is not None and m.high is not None
    ]
    if banded:
        at, low, high = zip(*banded, strict=True)
        axes.fill_between(at, low, high, color=color, alpha=0.14, linewidth=0)
