"""Figures of counts and metrics. Each function returns a Figure and draws nothing on a screen.

Every number shown comes with its interval; nothing is smoothed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure

from declutch.reporting import formats, style
from declutch.reporting.values import Metric, PatchSummary, Row, layer_series

# Steps from pale to dark; a single weight must be told from none, so it starts well off white.
_STEPS = ("#b9d4f0", "#8db8e6", "#5f99d6", "#3579c0", "#175a9e", "#0b3d73")


def coupled_heatmap(patch: PatchSummary) -> Figure:
    """Weights for each layer (across) and matrix (down), with the sum of each layer on top.

    An empty cell was targeted and holds none; a hatched one has no such matrix.
    """
    layers, kinds = patch.layers, patch.kinds
    width = min(13.0, max(6.0, 1.9 + 0.31 * len(layers)))
    with style.look():
        figure = style.new_figure(width, 1.75 + 0.42 * len(kinds))
        top, main = figure.subplots(
            2, 1, sharex=True, height_ratios=[1.0, max(0.9, 0.42 * len(kinds))]
        )
        sums = [patch.total(layer=layer) for layer in layers]
        top.bar(range(len(layers)), sums, width=0.78, color=style.QUIET)
        cell = (width - 1.9) / max(1, len(layers))
        size = min(9.0, cell * 72 / 2.3)
        for x, count in enumerate(sums):
            if count and size * 0.62 * len(str(count)) <= cell * 72:
                top.annotate(
                    str(count), (x, count), (0, 2), textcoords="offset points", ha="center",
                    va="bottom", fontsize=max(size, 6.5),
                )  # fmt: skip
        top.set_ylim(0, max([1, *sums]) * 1.3)
        top.set_yticks([])
        top.spines["left"].set_visible(False)
        top.tick_params(bottom=False)
        top.set_title("Coupled neurons in each layer")
        _cells(main, patch, size, cell * 72)
        main.set_xlabel("layer")
        step = math.ceil(len(layers) / 32)
        shown = range(0, len(layers), step)
        main.set_xticks(list(shown), [str(layers[x]) for x in shown])
        main.set_yticks(
            range(len(kinds)), [f"{kind}  ({patch.total(kind=kind):,})" for kind in kinds]
        )
    return figure


def _cells(axes: Axes, patch: PatchSummary, size: float, cell_points: float) -> None:
    layers, kinds = patch.layers, patch.kinds
    most = max([1, *patch.counts.values()])
    grid = np.full((len(kinds), len(layers)), np.nan)
    for y, kind in enumerate(kinds):
        for x, layer in enumerate(layers):
            count = patch.counts.get((layer, kind))
            if count:
                # The darkest step is the highest count; with few counts, each has its own step.
                steps = len(_STEPS)
                grid[y, x] = count - 1 if most <= steps else (count - 1) * (steps - 1) // (most - 1)
            elif count is None:
                axes.fill_between(
                    [x - 0.5, x + 0.5], y - 0.5, y + 0.5, facecolor=style.PALE,
                    edgecolor=style.FAINT, hatch="///", linewidth=0,
                )  # fmt: skip
    axes.imshow(grid, cmap=ListedColormap(_STEPS), vmin=-0.5, vmax=len(_STEPS) - 0.5, aspect="auto")
    for y, kind in enumerate(kinds):
        for x, layer in enumerate(layers):
            count = patch.counts.get((layer, kind))
            if count and size * 0.62 * len(str(count)) <= cell_points * 0.95:
                dark = sum(to_rgb(_STEPS[int(grid[y, x])])) < 1.7
                axes.text(
                    x, y, str(count), ha="center", va="center", fontsize=max(size, 6.0),
                    color="white" if dark else style.INK,
                )  # fmt: skip
    axes.set_xticks(np.arange(-0.5, len(layers)), minor=True)
    axes.set_yticks(np.arange(-0.5, len(kinds)), minor=True)
    axes.grid(which="minor", color=style.FAINT, linewidth=0.8)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def before_after(rows: Sequence[Row]) -> Figure:
    """Dots with intervals, one line a metric; a panel for each group and unit.

    For awareness, over-refusal, kinds of replies, capability and whatever comes later.
    """
    panels: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        panels.setdefault((row.metric.group, row.metric.kind), []).append(row)
    several = len({group for group, _ in panels}) > 1
    with style.look():
        figure = style.new_figure(8.6, 0.7 + 0.52 * len(rows) + 0.75 * len(panels), hspace=0.05)
        axes_of = figure.subplots(
            len(panels),
            1,
            squeeze=False,
            height_ratios=[len(panel) for panel in panels.values()],
        )
        for axes, panel in zip(axes_of[:, 0], panels.values(), strict=True):
            _dots(axes, panel)
            if several:
                axes.set_title(panel[0].metric.group_title)
        style.before_after_key(figure)
    return figure


def _dots(axes: Axes, rows: Sequence[Row]) -> None:
    percent = rows[0].metric.kind == "proportion"
    factor = 100.0 if percent else 1.0
    for y, row in enumerate(rows):
        texts = []
        for metric, after in ((row.before, False), (row.after, True)):
            texts.append(formats.short_value(metric))
            if metric is not None and metric.value is not None:
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


def _highest(rows: Sequence[Row]) -> float:
    sides = [metric for row in rows for metric in (row.before, row.after) if metric is not None]
    return max([0.0, *(metric.high or metric.value or 0.0 for metric in sides)])


def by_layer(rows: Sequence[Row]) -> Figure | None:
    """Lines over the layers, before and after, a panel for each series; None without one."""
    series = layer_series(rows)
    if not series:
        return None
    columns = 2 if len(series) > 1 else 1
    lines = math.ceil(len(series) / columns)
    with style.look():
        figure = style.new_figure(4.5 * columns + (2 if columns == 1 else 0), 0.5 + 2.6 * lines)
        grid = figure.subplots(lines, columns, squeeze=False)
        for axes in grid.flat[len(series) :]:
            axes.remove()
        for axes, (name, points) in zip(grid.flat, series.items(), strict=False):
            for side, color in (("before", style.BEFORE), ("after", style.AFTER)):
                _line(axes, [(layer, getattr(row, side)) for layer, row in points], color)
            axes.set_title(name.split("/", 1)[-1].replace("_", " ").replace("/", " · "))
            axes.set_xlabel("layer")
            axes.grid(axis="y", color=style.FAINT, linewidth=0.7)
            axes.margins(x=0.02)
            # 0 is on the axis: dependence has a true zero, and a cut axis would exaggerate.
            low, high = axes.get_ylim()
            axes.set_ylim(min(0.0, low), max(0.0, high))
        style.before_after_key(figure)
    return figure


def _line(axes: Axes, points: Sequence[tuple[int, Metric | None]], color: str) -> None:
    known = [(layer, m) for layer, m in points if m is not None and m.value is not None]
    if not known:
        return
    layers = [layer for layer, _ in known]
    axes.plot(
        layers, [m.value or 0.0 for _, m in known], color=color, linewidth=1.8,
        linestyle="-" if color == style.AFTER else (0, (4, 1.5)), marker="o", markersize=3,
    )  # fmt: skip
    banded = [(layer, m.low, m.high) for layer, m in known if None not in (m.low, m.high)]
    if banded:
        at, low, high = zip(*banded, strict=True)
        axes.fill_between(at, low, high, color=color, alpha=0.14, linewidth=0)
