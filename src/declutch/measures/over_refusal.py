"""Over-refusal: the share of harmless prompts that are refused."""

from __future__ import annotations

from declutch.comparing.kinds import PROPORTION
from declutch.comparing.results import MeasureFacts
from declutch.comparing.series import Series
from declutch.items import Item
from declutch.measures.base import MEASURES, Evidence, Measure

# Refusals are told by phrases, whichever judges are asked.
REFUSAL_JUDGE = "heuristic"


@MEASURES.register("over_refusal")
class OverRefusal(Measure[Item]):
    """Refused of all, for each set of harmless prompts."""

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
        """One for each set."""
        return [
            Series(
                f"over_refusal/{each.label}/{REFUSAL_JUDGE}", PROPORTION,
                {row.pairing: row.kinds.refused for row in evidence.rows(each)}, each.dimension,
                REFUSAL_JUDGE, better="lower", note="harmless prompts refused, told by phrases",
            )
            for each in evidence.sets_of("over_refusal")
        ]  # fmt: skip
