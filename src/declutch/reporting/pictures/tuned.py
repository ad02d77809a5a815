"""What a search found: its winner and controls on the plane, and the front it chose from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from matplotlib.figure import Figure

from declutch.reporting import formats, style
from declutch.reporting.picture import Drawing, drawing, picture
from declutch.reporting.values import ReportInput
from declutch.tuning.record import WINNER, Proven, TuneRecord

_MARKS = "oDs^v"


@picture("tuned", order=22)
def tuned(report: ReportInput) -> Iterator[Drawing]:
    """A plane for each judge and pair of dimensions, and one front."""
    record = report.tuned
    if record is None:
        return
    edits = [one for one in record.proven if one.name != "null"]
    judges = dict.fromkeys(o.judge for one in edits for o in one.verdict.by_judge)
    for judge, (x, y) in itertools.product(judges, itertools.combinations(record.couple, 2)):
        points = {_label(one): _moved(one, judge, x, y) for one in edits}
        if any(points.values()):
            yield drawing(
                f"tuned-{x}-{y}-{judge}",
                f"The edit that was found, and its controls: {x} against {y}",
                "Arrows from the original model, on proof prompts that nothing was searched on. Up "
                "and to the right is better on both; bars are 95 % intervals of the change.",
                _plane(points, x, y),
                "; ".join(
                    f"{name}: {x} {formats.signed(100 * at[0][1], 0)}, {y} "
                    f"{formats.signed(100 * at[1][1], 0)} points"
                    for name, at in points.items()
                    if at
                ),
            )
    if record.front:
        yield drawing(
            "tuned-front",
            "What the search chose from",
            "Each point is an edit that no other beats in both: the smallest gain of a margin, "
            "against what perplexity rises by, on tuning pairs and passages.",
            _front(record),
            f"{len(record.front)} edits on the front",
        )


def _label(edit: Proven) -> str:
    return f"{edit.name} ({edit.rule})" if edit.name == WINNER else edit.name


_Span = tuple[float, float, float, float]  # origin, change, its interval


def _moved(edit: Proven, judge: str, x: str, y: str) -> tuple[_Span, _Span] | None:
    found = {}
    for one in edit.verdict.by_judge:
        if one.judge == judge and None not in (one.before, one.difference):
            low = one.difference if one.low is None else one.low
            high = one.difference if one.high is None else one.high
            found[one.dimension] = (one.before, one.difference, low, high)
    return (found[x], found[y]) if x in found and y in found else None  # type: ignore[return-value]


def _plane(points: dict[str, tuple[_Span, _Span] | None], x: str, y: str) -> Figure:
    with style.look():
        figure = style.new_figure(6.4, 5.6)
        axes = figure.subplots()
        for index, (name, at) in enumerate(points.items()):
            if at is None:
                continue
            (x0, dx, x_low, x_high), (y0, dy, y_low, y_high) = at
            color = style.SERIES[index % len(style.SERIES)]
            end = (100 * (x0 + dx), 100 * (y0 + dy))
            for span, up in (((x_low, x_high), False), ((y_low, y_high), True)):
                origin = y0 if up else x0
                ends = [100 * (origin + value) for value in span]
                fixed = [end[0] if up else end[1]] * 2
                axes.plot(*((fixed, ends) if up else (ends, fixed)), color=color, alpha=0.5, lw=1.3)
            axes.annotate(
                "", end, (100 * x0, 100 * y0), zorder=3,
                arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 1.6, "shrinkB": 5},
            )  # fmt: skip
            axes.plot(*end, _MARKS[index % len(_MARKS)], color=color, markersize=8, zorder=4)
            axes.annotate(
                name, end, (8, 7), textcoords="offset points", color=color, weight="bold", zorder=5
            )
            axes.plot(100 * x0, 100 * y0, "o", color=style.INK, markerfacecolor="white", zorder=4)
        axes.set_xlabel(f"{x} awareness, %")
        axes.set_ylabel(f"{y} awareness, %")
        axes.margins(0.18)
        axes.grid(color=style.FAINT, linewidth=0.7)
        axes.set_axisbelow(True)
    return figure


def _front(record: TuneRecord) -> Figure:
    with style.look():
        figure = style.new_figure(6.4, 4.2)
        axes = figure.subplots()
        rules = dict.fromkeys(one.options["rule"] for one in record.front)
        replied = {one.edit.name for one in record.generated}
        for index, rule in enumerate(rules):
            own = [one for one in record.front if one.options["rule"] == rule]
            axes.plot(
                [100 * math.expm1(one.changes["nll"].mean) for one in own],
                [one.gain for one in own],
                _MARKS[index % len(_MARKS)], color=style.SERIES[index % len(style.SERIES)],
                markersize=7, label=rule,
            )  # fmt: skip
        for one in record.front:
            if one.name in replied:
                at = (100 * math.expm1(one.changes["nll"].mean), one.gain)
                axes.plot(*at, "o", markersize=13, markerfacecolor="none", color=style.INK)
        axes.axhline(0, color=style.FAINT, zorder=0)
        axes.set_xlabel("change of perplexity, %  (circled: replied to tuning prompts)")
        axes.set_ylabel("smallest margin gain, sd")
        axes.legend(frameon=False, loc="best")
        axes.grid(color=style.FAINT, linewidth=0.7)
        axes.set_axisbelow(True)
    return figure
