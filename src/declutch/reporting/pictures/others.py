"""Every measure that no other picture shows: by layer where it has layers, else as dots."""

from __future__ import annotations

from collections.abc import Iterator

from declutch.comparing.comparison import ComparisonRow
from declutch.reporting import formats, plots
from declutch.reporting.picture import Drawing, drawing, in_words, picture, shown_elsewhere
from declutch.reporting.values import ReportInput, grouped, layer_series, single_rows

# Beyond it a chart of dots is a wall, and of a single one the table says it better.
_MOST_DOTS = 24


@picture("others", order=1000)
def others(report: ReportInput) -> Iterator[Drawing]:
    """What is there for each measure."""
    elsewhere = shown_elsewhere()
    for group, rows in grouped(report.rows).items():
        if group not in elsewhere:
            yield from _of_measure(group, rows)


def _of_measure(group: str, rows: list[ComparisonRow]) -> Iterator[Drawing]:
    title = rows[0].measure.title
    lines = plots.by_layer(rows)
    if lines is not None:
        yield drawing(
            f"{group}-by-layer",
            title,
            "Each layer before (dashed) and after (solid), with 95 % intervals.",
            lines,
            f"{title}, {formats.joined(list(layer_series(rows)))}: all values are in the table.",
        )
    single = single_rows(rows)
    if 1 < len(single) <= _MOST_DOTS:
        yield drawing(
            group,
            title,
            "Before and after, with 95 % intervals.",
            plots.before_after(single),
            in_words(single),
        )
