"""Which figures a report has, with their captions and their texts for those who can't see them."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from declutch.reporting import formats, planes, plots, style
from declutch.reporting.values import ReportInput, Row, grouped, layer_series

# Groups that have a figure of their own, or that a table says better.
_OWN = {"awareness", "over_refusal", "reply_kinds", "margin", "perplexity"}
# Beyond it a chart of dots is a wall; the table has them all.
_MOST_DOTS = 24
# Pairs of coupled dimensions that get a plane each.
_MOST_PLANES = 3


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure as PNG bytes, with its file name, caption and alternative text, in CSS pixels."""

    name: str
    title: str
    caption: str
    alt: str
    png: bytes
    width: int
    height: int


def draw_all(report: ReportInput) -> tuple[Drawing, ...]:
    """All the figures for which there is something to show, in the order of the page."""
    return tuple(_drawings(report))


def _drawings(report: ReportInput) -> Iterator[Drawing]:
    awareness = report.group("awareness")
    if awareness:
        yield _drawing(
            "awareness",
            "Awareness",
            "Replies that a judge calls aware, before and after; the more the bars overlap, the "
            "less the difference says.",
            plots.before_after(awareness),
            _in_words(awareness),
        )
    pairs = itertools.combinations(report.dimensions, 2)
    for x, y in itertools.islice(pairs, _MOST_PLANES):
        figure = planes.trade_off(awareness, x, y)
        if figure is not None:
            yield _drawing(
                f"trade-off-{x}-{y}",
                f"Trade-off: {x} against {y}",
                "Up and to the right is better on both; lines are 95 % intervals.",
                figure,
                _in_words([row for row in awareness if row.metric.dimension in (x, y)]),
            )
    yield _patch_drawing(report)
    # Kinds of replies that never occurred would fill the figure with zeros.
    kinds = [
        *report.group("over_refusal"),
        *(row for row in report.group("reply_kinds") if _ever(row)),
    ]
    if kinds:
        yield _drawing(
            "replies",
            "Over-refusal and kinds of replies",
            "A gain in awareness that comes with refused harmless prompts, or with empty or cut "
            "replies, is worth less. Kinds that never occurred are left out; the table has them.",
            plots.before_after(kinds),
            _in_words(kinds),
        )
    if any(report.margins.values()):
        rows = report.group("margin")
        yield _drawing(
            "margins",
            "Preference margins",
            "Left: each pair before and after; on the line nothing changed. Right: how much each "
            "pair changed, and the mean with its 95 % interval.",
            planes.margins(report.margins, rows),
            _in_words(rows),
        )
    for group, rows in grouped(report.rows).items():
        if group not in _OWN:
            yield from _extra(group, rows)


def _extra(group: str, rows: list[Row]) -> Iterator[Drawing]:
    title = rows[0].metric.group_title
    lines = plots.by_layer(rows)
    if lines is not None:
        yield _drawing(
            f"{group}-by-layer",
            title,
            "Each layer before (dashed) and after (solid), with 95 % intervals.",
            lines,
            f"{title}, {formats.joined(list(layer_series(rows)))}: all values are in the table.",
        )
    in_lines = {row.name for points in layer_series(rows).values() for _, row in points}
    single = [row for row in rows if row.name not in in_lines]
    if 0 < len(single) <= _MOST_DOTS:
        yield _drawing(
            group,
            title,
            "Before and after, with 95 % intervals.",
            plots.before_after(single),
            _in_words(single),
        )


def _patch_drawing(report: ReportInput) -> Drawing:
    patch = report.patch
    hit = [layer for layer in patch.layers if patch.total(layer=layer)]
    top = sorted(hit, key=lambda layer: -patch.total(layer=layer))[:3]
    words = f"{formats.plural(patch.weights, 'weight')} in {len(hit)} of {len(patch.layers)} layers"
    if top:
        words += ", most in " + formats.joined(
            [f"layer {layer} ({patch.total(layer=layer)})" for layer in top]
        )
    return _drawing(
        "coupled-neurons",
        "Where the coupled neurons sit",
        f"{words}; an empty cell holds none.",
        plots.coupled_heatmap(patch),
        words
        + ". By matrix: "
        + formats.joined([f"{kind} {patch.total(kind=kind):,}" for kind in patch.kinds])
        + ".",
    )


def _ever(row: Row) -> bool:
    return any(side is not None and side.value for side in (row.before, row.after))


def _in_words(rows: list[Row]) -> str:
    return "; ".join(
        f"{row.metric.label}: {formats.value(row.before)} before, {formats.value(row.after)} after"
        for row in rows
    )


def _drawing(name: str, title: str, caption: str, figure: Figure, alt: str) -> Drawing:
    buffer = io.BytesIO()
    # The look holds while drawing too: text is laid out only then.
    with style.look():
        # Without the version of matplotlib in it, the same numbers give the same bytes.
        figure.savefig(buffer, format="png", dpi=style.DPI, metadata={"Software": None})
    width, height = figure.get_size_inches()
    return Drawing(
        name=_file_name(name),
        title=title,
        caption=caption,
        alt=alt,
        png=buffer.getvalue(),
        width=round(width * style.DPI / 2),
        height=round(height * style.DPI / 2),
    )


def _file_name(name: str) -> str:
    """Safe on every system: dimensions are named by the user."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip(".")[:100]
