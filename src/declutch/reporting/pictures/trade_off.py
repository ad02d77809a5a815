"""One dimension against another: an arrow from before to after."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from declutch.comparing.comparison import ComparisonRow
from declutch.reporting import style
from declutch.reporting.picture import Drawing, drawing, in_words, picture
from declutch.reporting.values import ReportInput

# Pairs of coupled dimensions that get a plane each.
_MOST = 3


@picture("trade_off", order=10)
def trade_offs(report: ReportInput) -> Iterator[Drawing]:
    """A plane for each pair of coupled dimensions."""
    rows = report.outcomes
    for x, y in itertools.islice(itertools.combinations(report.dimensions, 2), _MOST):
        figure = trade_off(rows, x, y)
        if figure is not None:
            yield drawing(
                f"trade-off-{x}-{y}",
                f"Trade-off: {x} against {y}",
                "Up and to the right is better on both; lines are 95 % intervals.",
                figure,
                in_words([row for row in rows if row.metric.dimension in (x, y)]),
            )


def trade_off(rows: Sequence[ComparisonRow], x: str, y: str) -> Figure | None:
    """One dimension's awareness against another's: an arrow before → after for each judge.

    Returns None where no judge judged both.
    """
    found = {
        (row.metric.dimension, row.metric.judge): row
        for row in reversed(rows)
        if None not in (row.before.value, row.after.value)
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


def _arrow(axes: Axes, across: ComparisonRow, up: ComparisonRow, index: int, judges: int) -> None:
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


def _frame(axes: Axes, rows: Sequence[ComparisonRow]) -> None:
    """The same span on both axes, around all intervals, within 0 to 100 %."""
    half = len(rows) // 2
    boxes = []
    for members in (rows[:half], rows[half:]):
        sides = [metric for row in members for metric in (row.before, row.after)]
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
