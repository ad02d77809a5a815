"""Where the coupled neurons sit."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure

from declutch.reporting import formats, style
from declutch.reporting.picture import Drawing, drawing, picture
from declutch.reporting.values import PatchSummary, ReportInput

# From pale to dark; a single weight must be told from none, so it starts well off white.
_STEPS = ("#b9d4f0", "#8db8e6", "#5f99d6", "#3579c0", "#175a9e", "#0b3d73")


@picture("coupled", order=70)
def coupled(report: ReportInput) -> Iterator[Drawing]:
    """A cell for each layer and matrix."""
    patch = report.patch
    hit = [layer for layer in patch.layers if patch.total(layer=layer)]
    top = sorted(hit, key=lambda layer: -patch.total(layer=layer))[:3]
    words = f"{formats.plural(patch.weights, 'weight')} in {len(hit)} of {len(patch.layers)} layers"
    if top:
        words += ", most in " + formats.joined(
            [f"layer {layer} ({patch.total(layer=layer)})" for layer in top]
        )
    yield drawing(
        "coupled-neurons",
        "Where the coupled neurons sit",
        f"{words}; an empty cell holds none.",
        coupled_heatmap(patch),
        words
        + ". By matrix: "
        + formats.joined([f"{kind} {patch.total(kind=kind):,}" for kind in patch.kinds])
        + ".",
    )


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
                step = count - 1 if most <= steps else (count - 1) * (steps - 1) // (most - 1)
                grid[y, x] = step
                if size * 0.62 * len(str(count)) <= cell_points * 0.95:
                    dark = sum(to_rgb(_STEPS[step])) < 1.7
                    axes.text(
                        x, y, str(count), ha="center", va="center", fontsize=max(size, 6.0),
                        color="white" if dark else style.INK,
                    )  # fmt: skip
            elif count is None:
                axes.fill_between(
                    [x - 0.5, x + 0.5], y - 0.5, y + 0.5, facecolor=style.PALE,
                    edgecolor=style.FAINT, hatch="///", linewidth=0,
                )  # fmt: skip
    axes.imshow(grid, cmap=ListedColormap(_STEPS), vmin=-0.5, vmax=len(_STEPS) - 0.5, aspect="auto")
    axes.set_xticks(np.arange(-0.5, len(layers)), minor=True)
    axes.set_yticks(np.arange(-0.5, len(kinds)), minor=True)
    axes.grid(which="minor", color=style.FAINT, linewidth=0.8)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
