"""By type: the other measures of replies, told by type of prompt where a suite names types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from declutch.comparing.comparison import ComparisonRow
from declutch.comparing.results import MeasureFacts, Metric
from declutch.comparing.series import Series
from declutch.items import Item
from declutch.measures.awareness import Awareness
from declutch.measures.base import MEASURES, Evidence, Measure, Subject
from declutch.measures.choices import Bias, Choices
from declutch.measures.over_caution import OverCaution
from declutch.measures.over_refusal import OverRefusal

_TOLD = (Awareness, OverRefusal, OverCaution, Choices, Bias)


@MEASURES.register("by_type")
class ByType(Measure[Item]):
    """Each series of awareness, over-refusal, over-caution, choices and bias, by type of prompt."""

    facts = MeasureFacts(
        name="by_type",
        title="By type of prompt",
        note="the same measures, type by type; few prompts each",
        family="by_type",
        items="prompt",
        quiet=True,
    )
    order = 35

    def asked(self, subject: Subject) -> bool:
        """Where the suite has types."""
        return any("type" in i.facts for each in subject.suite.prompt_sets for i in each.items)

    def expected(self, subject: Subject, empty: Evidence) -> list[Series] | None:
        """Not known without replies, which hold the types."""
        return None

    def compare(
        self,
        before: tuple[Evidence, Mapping[str, Metric]],
        after: tuple[Evidence, Mapping[str, Metric]],
        seed: int = 0,
    ) -> tuple[list[ComparisonRow], list[str]]:
        """Without notes: what is left out is said of the whole already."""
        return super().compare(before, after, seed)[0], []

    def series(self, evidence: Evidence) -> list[Series]:
        """One for each of theirs and each type in it, in the order of the prompts."""
        types = {r.pairing: r.facts["type"] for r in evidence.replies if "type" in r.facts}
        found = []
        for measure in _TOLD:
            for whole in measure().series(evidence):
                parts: dict[str, dict[str, object]] = {}
                for key, value in whole.values.items():
                    if key in types:
                        parts.setdefault(types[key], {})[key] = value
                found += [
                    replace(whole, name=f"by_type/{whole.name}/{kind}", values=values, note="")
                    for kind, values in parts.items()
                ]
        return found
