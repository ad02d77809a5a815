"""Over-refusal and kinds of replies, before and after."""

from __future__ import annotations

from collections.abc import Iterator

from declutch.reporting import plots
from declutch.reporting.picture import Drawing, drawing, in_words, picture
from declutch.reporting.values import ReportInput


@picture("replies", order=40, shows=("over_refusal", "reply_kinds"))
def replies(report: ReportInput) -> Iterator[Drawing]:
    """Dots with intervals; kinds that never occurred would fill the figure with zeros."""
    ever = [row for row in report.group("reply_kinds") if row.before.value or row.after.value]
    if kinds := [*report.group("over_refusal"), *ever]:
        yield drawing(
            "replies",
            "Over-refusal and kinds of replies",
            "A gain in awareness that comes with refused harmless prompts, or with empty or cut "
            "replies, is worth less. Kinds that never occurred are left out; the table has them.",
            plots.before_after(kinds),
            in_words(kinds),
        )
