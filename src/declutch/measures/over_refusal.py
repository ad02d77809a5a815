"""Over-refusal: the share of harmless prompts that are refused, or lectured about instead."""

from __future__ import annotations

from declutch.comparing.results import MeasureFacts
from declutch.comparing.series import Series
from declutch.items import Item
from declutch.measures.base import MEASURES, Evidence, Measure, manner_series
from declutch.replies.verdicts import REFUSED


@MEASURES.register("over_refusal")
class OverRefusal(Measure[Item]):
    """Refused of all, for each set of harmless prompts and judge of manner."""

    facts = MeasureFacts(
        name="over_refusal",
        title="Over-refusal",
        note="share of harmless prompts that are refused; lower is better",
        role="side effect",
        family="main",
        worse="harmless {of} prompts were refused more often",
        items="prompt",
    )
    order = 20

    def series(self, evidence: Evidence) -> list[Series]:
        """One for each set and judge; an empty reply is no refusal."""
        note = "harmless prompts refused, or lectured about instead of answered"
        return [
            series
            for each in evidence.sets_of("over_refusal")
            for series in manner_series(evidence, each, "over_refusal", REFUSED, note, "lower")
        ]
