"""How figures depend on how much of each reply is judged."""

from __future__ import annotations

from collections.abc import Iterator

from declutch.comparing.comparison import ComparisonRow
from declutch.measures.by_length import length_of
from declutch.reporting import plots
from declutch.reporting.picture import Drawing, drawing, in_words, picture
from declutch.reporting.values import ReportInput


@picture("by_length", order=85, shows=("by_length",))
def by_length(report: ReportInput) -> Iterator[Drawing]:
    """A curve for each metric."""
    rows = report.group("by_length")
    series: dict[str, list[tuple[int, ComparisonRow]]] = {}
    for row in rows:
        metric, tokens = length_of(row.name)
        series.setdefault(f"by_length/{metric}", []).append((tokens, row))
    if rows:
        # What is called alike side by side: a column for each dimension.
        alike = dict(sorted(series.items(), key=lambda each: each[0].split("/")[1]))
        yield drawing(
            "by-length",
            "By length of reply",
            "The same replies, judged by their first tokens alone, before (dashed) and after "
            "(solid), with 95 % intervals. Where a curve still moves, a longer limit would show "
            "something else.",
            plots.curves(alike, "tokens of each reply that are judged", doubling=True),
            in_words(rows),
        )
