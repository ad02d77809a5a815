"""What a patch is for, before and after."""

from __future__ import annotations

from collections.abc import Iterator

from declutch.reporting import plots
from declutch.reporting.picture import Drawing, drawing, in_words, picture
from declutch.reporting.values import ReportInput


@picture("awareness", order=60, shows=("awareness",))
def awareness(report: ReportInput) -> Iterator[Drawing]:
    """Dots with intervals, a line for each dimension and judge."""
    if rows := report.outcomes:
        yield drawing(
            "awareness",
            "Awareness",
            "Replies that a judge calls aware, before and after; the more the bars overlap, the "
            "less the difference says.",
            plots.before_after(rows),
            in_words(rows),
        )
