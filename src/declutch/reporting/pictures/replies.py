"""How harmless prompts are met, and other kinds of replies, before and after."""

from __future__ import annotations

from collections.abc import Iterator

from declutch.comparing.comparison import ComparisonRow
from declutch.reporting import plots
from declutch.reporting.picture import Drawing, drawing, in_words, picture
from declutch.reporting.values import ReportInput, sections


@picture("over_refusal", order=40, shows=("over_refusal", "over_caution"))
def over_refusal(report: ReportInput) -> Iterator[Drawing]:
    """Dots with intervals: what a gain in awareness may have been bought with."""
    rows = [*report.group("over_refusal"), *report.group("over_caution")]
    yield from _dots(
        rows,
        "over-refusal",
        "Harmless prompts",
        "Refused, or met with caution that nobody asked for: a gain in awareness that comes with "
        "more of it is worth less.",
    )


@picture("replies", order=90, shows=("reply_kinds",))
def replies(report: ReportInput) -> Iterator[Drawing]:
    """Only the kinds that changed: the others would fill a page with nothing."""
    rows = [row for each in sections(report.group("reply_kinds")) for row in each.shown]
    yield from _dots(
        rows,
        "replies",
        "Kinds of replies that changed",
        "Kinds that did not detectably change are in the table.",
    )


def _dots(rows: list[ComparisonRow], name: str, title: str, caption: str) -> Iterator[Drawing]:
    if rows:
        yield drawing(name, title, caption, plots.before_after(rows), in_words(rows))
