"""The one look of all figures, and the few shapes that they share.

Drawn on white with dark text, so that a figure can be lifted out of the page into a talk. Before
and after differ in colour (safe for colour-blind readers), in fill and in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

INK = "#1b1f24"
QUIET = "#5b6470"
FAINT = "#d9dde2"
PALE = "#f3f4f6"
BEFORE = "#c2410c"
AFTER = "#0b5cad"
# For several series: blue, vermilion, green, purple, amber, sky (after Okabe and Ito), each dark
# enough to write a label in on white.
SERIES = ("#0b5cad", "#c2410c", "#007a5a", "#8a3c8f", "#8a6100", "#2a7fa8")
DPI = 200

_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    # Metric names are the user's: a «$» in one is not mathematics.
    "text.parse_math": False,
}


@contextmanager
def look() -> Iterator[None]:
    """Draw inside this: the style holds here and leaves the caller's settings alone."""
    with mpl.rc_context(_RC):
        yield


def new_figure(width: float, height: float, *, hspace: float = 0.02) -> Figure:
    """A figure that belongs to no window system: nothing global is touched.

    Args:
        hspace: room between rows, as a share of their height.
    """
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(hspace=hspace))


def interval_dot(
    axes: Axes,
    y: float,
    value: float,
    low: float | None,
    high: float | None,
    *,
    after: bool,
) -> None:
    """A value with its interval, lying down: hollow before, filled after."""
    color = AFTER if after else BEFORE
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=color, linewidth=1.8, solid_capstyle="butt", zorder=2)
        for end in (low, high):
            axes.plot([end, end], [y - 0.055, y + 0.055], color=color, linewidth=1.8, zorder=2)
    axes.plot(
        value,
        y,
        marker="o",
        markersize=7,
        color=color,
        markerfacecolor=color if after else "white",
        markeredgewidth=1.8,
        linestyle="none",
        zorder=3,
    )


def before_after_key(figure: Figure) -> None:
    """The legend of the two marks."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            marker="o",
            markersize=6.5,
            linewidth=1.8,
            color=color,
            markerfacecolor=fill,
            markeredgewidth=1.8,
            label=label,
        )
        for color, fill, label in ((BEFORE, "white", "before"), (AFTER, AFTER, "after"))
    ]
    figure.legend(
        handles=handles, loc="outside upper right", ncols=2, frameon=False, handlelength=1.8
    )
