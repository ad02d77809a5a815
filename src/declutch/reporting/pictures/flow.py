"""How prompts became aware, or ceased to be: a stream from each way of being met to each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from declutch.measures.flow import WAYS
from declutch.reporting import formats, style
from declutch.reporting.picture import Drawing, drawing, picture
from declutch.reporting.values import ReportInput

_SAID = {
    "answering": "aware, answered",
    "lecturing": "aware, lectured",
    "refusing": "aware, refused",
    "unaware": "not aware",
    "unparsed": "can't be told",
}
_VAGUE = "#98a1ac"
# Told apart without colour too: by place, name and hatching.
_LOOK = {
    "answering": (style.SERIES[0], ""),
    "lecturing": (style.SERIES[4], "..."),
    "refusing": (style.SERIES[1], "////"),
    "unaware": (style.QUIET, ""),
    "unparsed": (_VAGUE, "xx"),
}
_GAP = 0.05  # between two ways, as a share of all prompts: room for a name
_WIDTH = 0.05  # of a way's bar, where the distance from before to after is 1
_LEAST = 0.022  # the thinnest stream that its count is written on

Moves = Mapping[tuple[str, str], int]


@picture("flow", order=25, shows=("flow",))
def flow(report: ReportInput) -> Iterator[Drawing]:
    """A drawing for each judge of awareness, a panel for each set of prompts."""
    table = report.comparison.tables.get("flow")
    values = table.values if table else ()
    for judge in dict.fromkeys(value["judge"] for value in values):
        panels: dict[str, dict[tuple[str, str], int]] = {}
        for value in values:
            if value["judge"] == judge:
                moves = panels.setdefault(value["set"], {})
                moves[value["before"], value["after"]] = value["prompts"]
        yield drawing(
            f"flow-{judge}",
            f"Where awareness comes from ({judge})",
            "Each prompt from how it was met before to how it is met after; a stream is as wide as "
            "it has prompts. Pale streams did not move, the others have the look of where they "
            "went. A gain that flows into refusals or lectures is no better answer. The table of "
            "«declutch compare» has the counts of the thinnest streams too.",
            flows(panels),
            "; ".join(f"{name}: {_in_words(moves)}" for name, moves in panels.items()),
        )


def flows(panels: Mapping[str, Moves]) -> Figure:
    """For each name the prompts that went from one way (before) to another (after)."""
    columns = min(2, len(panels))
    lines = math.ceil(len(panels) / columns)
    with style.look():
        figure = style.new_figure(5.4 * columns, 0.3 + 3.7 * lines)
        grid = figure.subplots(lines, columns, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.remove()
        for axes, (name, moves) in zip(grid.flat, panels.items(), strict=False):
            _panel(axes, moves)
            axes.set_title(f"{name}: {formats.plural(sum(moves.values()), 'prompt')}")
    return figure


def _panel(axes: Axes, moves: Moves) -> None:
    total = sum(moves.values())
    tops = [_bars(axes, moves, side, total) for side in (0, 1)]
    for was in WAYS:
        for now in WAYS:
            if count := moves.get((was, now)):
                color, hatch = _LOOK[now]
                stays = was == now
                shown = _paler(color, 0.82 if stays else 0.45)
                height = count / total
                axes.add_patch(
                    PathPatch(
                        _stream(tops[0][was], tops[1][now], height),
                        facecolor=shown, edgecolor="white", linewidth=0.6,
                        hatch="" if stays else hatch, zorder=1 if stays else 2,
                    )
                )  # fmt: skip
                if height >= _LEAST:
                    axes.text(
                        0.93 - _WIDTH, tops[1][now] + height / 2, f"{count:,}", ha="right",
                        va="center", fontsize=8.5, bbox={
                            "boxstyle": "round,pad=0.1", "facecolor": shown, "edgecolor": "none",
                        },
                    )  # fmt: skip
                tops[0][was] += height
                tops[1][now] += height
    axes.set(xlim=(-0.52, 1.52), ylim=(1 + _GAP * (len(WAYS) - 1) + 0.02, -0.09))
    axes.axis("off")


def _bars(axes: Axes, moves: Moves, side: int, total: int) -> dict[str, float]:
    """A bar for each way of one side; where each begins, from the top down."""
    top, tops = 0.0, {}
    x, outside = (0.0, -0.02) if side == 0 else (1 - _WIDTH, 1.02)
    axes.text(
        x + _WIDTH / 2, -0.03, ("before", "after")[side], ha="center", va="bottom",
        color=style.QUIET,
    )  # fmt: skip
    for way in WAYS:
        if not any(way in move for move in moves):
            continue
        tops[way] = top
        count = sum(n for move, n in moves.items() if move[side] == way)
        color, hatch = _LOOK[way]
        axes.add_patch(
            Rectangle(
                (x, top), _WIDTH, count / total, facecolor=color, edgecolor="white", hatch=hatch,
                linewidth=0,
            )
        )  # fmt: skip
        axes.text(
            outside, top + count / total / 2, f"{_SAID[way]} {count:,}", va="center", fontsize=9,
            ha="left" if side else "right",
        )  # fmt: skip
        top += count / total + _GAP
    return tops


def _stream(left: float, right: float, height: float) -> Path:
    """Between two bars, level at both ends."""
    start, middle, end = _WIDTH, 0.5, 1 - _WIDTH
    points = [
        (start, left), (middle, left), (middle, right), (end, right), (end, right + height),
        (middle, right + height), (middle, left + height), (start, left + height), (start, left),
    ]  # fmt: skip
    curve = [Path.CURVE4] * 3
    return Path(points, [Path.MOVETO, *curve, Path.LINETO, *curve, Path.CLOSEPOLY])


def _paler(color: str, white: float) -> tuple[float, ...]:
    return tuple(part + (1 - part) * white for part in to_rgb(color))


def _in_words(moves: Moves) -> str:
    return ", ".join(
        f"{count:,} {_SAID[was]} before and {_SAID[now]} after"
        for (was, now), count in moves.items()
    )
