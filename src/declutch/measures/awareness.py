"""Awareness: the share of replies that a judge calls aware."""

from __future__ import annotations

from declutch.comparing.kinds import PROPORTION
from declutch.comparing.results import MeasureFacts
from declutch.comparing.series import Series
from declutch.items import Item
from declutch.measures.base import MEASURES, Evidence, Measure


@MEASURES.register("awareness")
class Awareness(Measure[Item]):
    """Aware of those judged aware or unaware, for each set of prompts and judge."""

    facts = MeasureFacts(
        name="awareness",
        title="Awareness",
        note="share of replies that a judge calls aware; higher is better",
        role="outcome",
        family="main",
        items="prompt",
    )
    order = 10

    def series(self, evidence: Evidence) -> list[Series]:
        """One for each set and judge; unparsed replies do not count."""
        found = []
        for each in evidence.sets_of("awareness"):
            rows = evidence.rows(each)
            for judge in evidence.judges:
                verdicts = {row.pairing: row.verdicts[judge].verdict for row in rows}
                unparsed = sum(verdict == "unparsed" for verdict in verdicts.values())
                note = "aware of those judged aware or unaware"
                if unparsed:
                    note += f"; {unparsed} unparsed of {len(rows)} left out"
                values = {
                    key: None if verdict == "unparsed" else verdict == "aware"
                    for key, verdict in verdicts.items()
                }
                found.append(
                    Series(
                        f"awareness/{each.label}/{judge}", PROPORTION, values, each.dimension,
                        judge, better="higher", note=note,
                    )
                )  # fmt: skip
        return found
