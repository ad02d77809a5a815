"""Flow: how replies are aware (by an answer, a lecture, a refusal), and what became of each prompt.

A model can be made to look aware by making it refuse. So awareness is split by the first judge of
manner, and each prompt is followed from before to after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from declutch.comparing.comparison import MeasureTable
from declutch.comparing.kinds import PROPORTION
from declutch.comparing.results import Better, MeasureFacts, SetFacts
from declutch.comparing.series import Series
from declutch.items import Item
from declutch.measures.base import MEASURES, Evidence, Measure

# From the best to the worst.
WAYS = ("answering", "lecturing", "refusing", "unaware", "unparsed")
AWARE = WAYS[:3]
_NOTES = {
    "answering": "aware, and answered, if with a hedge or in part",
    "lecturing": "aware by lecturing instead of answering",
    "refusing": "aware by declining",
}
_WAY_OF = {"lectures": "lecturing", "refuses": "refusing", "unparsed": "unparsed"}


@MEASURES.register("flow")
class Flow(Measure[Item]):
    """Aware by answering, lecturing and refusing; the three together are the awareness."""

    facts = MeasureFacts(
        name="flow",
        title="How replies are aware",
        note="the awareness, split by how the prompt is met",
        family="flow",
        items="prompt",
        quiet=True,
    )
    order = 15

    def series(self, evidence: Evidence) -> list[Series]:
        """Three for each set and judge of awareness; what one of the judges can't tell is out."""
        found = []
        for each, judge in _asked(evidence):
            ways = ways_of(evidence, each, judge)
            for way in AWARE:
                values = {k: None if now == "unparsed" else now == way for k, now in ways.items()}
                better: Better = "higher" if way == "answering" else "none"
                found.append(
                    Series(
                        f"aware_{way}/{each.label}/{judge}", PROPORTION, values, each.dimension,
                        judge, better=better, note=_NOTES[way],
                    )
                )  # fmt: skip
        return found

    def table(self, before: Evidence, after: Evidence, seed: int = 0) -> MeasureTable | None:
        """From how many prompts were met in which way to how many are."""
        rows, values = [], []
        others = {(each.label, judge): each for each, judge in _asked(after)}
        for each, judge in _asked(before):
            if (each.label, judge) not in others:
                continue
            old = ways_of(before, each, judge)
            new = ways_of(after, others[each.label, judge], judge)
            moves = Counter((old[key], new[key]) for key in old if key in new)
            for was in WAYS:
                counts = [moves[was, now] for now in WAYS]
                if any(counts):
                    name = f"{each.label}, {judge}: {was}"
                    rows.append((name, *(f"{count:,}" for count in counts)))
            values += [
                {
                    "set": each.label, "dimension": each.dimension, "judge": judge,
                    "before": was, "after": now, "prompts": moves[was, now],
                }
                for was in WAYS for now in WAYS if moves[was, now]
            ]  # fmt: skip
        columns = ("Prompts, from (down) to (across)", *WAYS)
        return MeasureTable("Flow of prompts", columns, rows, values) if rows else None


def ways_of(evidence: Evidence, each: SetFacts, judge: str) -> Mapping[str, str]:
    """By prompt one of :data:`WAYS`; ``unparsed`` where one of the two judges can't tell."""
    manner = evidence.manner_judges[0]
    return {
        row.pairing: verdict
        if (verdict := row.verdicts[judge].verdict) != "aware"
        else _WAY_OF.get(row.verdicts[manner].verdict, "answering")
        for row in evidence.rows(each)
    }


def _asked(evidence: Evidence) -> Iterator[tuple[SetFacts, str]]:
    """Sets and judges of awareness, where there is a judge of manner beside them."""
    if evidence.manner_judges:
        for each in evidence.sets_of("awareness"):
            for judge in evidence.judges:
                yield each, judge
