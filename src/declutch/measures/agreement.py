"""Agreement of the judges of one run: Cohen's kappa, and the replies on which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from declutch.comparing import statistics
from declutch.comparing.clusters import Labels, clustered_kappa
from declutch.comparing.enough import too_few
from declutch.comparing.kinds import Paired, Shown, Summary
from declutch.comparing.results import MeasureFacts
from declutch.comparing.series import Series
from declutch.items import Item
from declutch.measures.base import MEASURES, Evidence, Measure
from declutch.replies.verdicts import SPLIT

FILE_NAME = "disagreements.jsonl"
Verdicts = tuple[str, str]


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa of two judges; a value is the two verdicts on a reply.

    There is none where both gave one and the same verdict throughout: nothing can be said beyond
    chance. The interval is a percentile bootstrap over the replies, or their clusters.
    """

    shown: Shown = "mean"

    def summary(self, values: Sequence[Verdicts], seed: int, clusters: Labels = ()) -> Summary:
        """Kappa and its interval."""
        first, second = [pair[0] for pair in values], [pair[1] for pair in values]
        value = statistics.cohens_kappa(first, second) if values else None
        number = len(set(clusters)) or None
        if value is None or too_few(number or len(values)):
            return Summary(len(values), value, clusters=number)
        interval = (
            clustered_kappa(first, second, clusters, seed)
            if clusters
            else statistics.kappa_interval(first, second, seed)
        )
        return Summary(len(values), value, interval.low, interval.high, clusters=number)

    def paired(
        self,
        before: Sequence[Verdicts],
        after: Sequence[Verdicts],
        seed: int,
        clusters: Labels = (),
    ) -> Paired:
        """The difference alone: agreement is no claim about the model, so it is not tested."""
        ends = [self.summary(side, seed).value for side in (before, after)]
        return Paired(difference=None if None in ends else ends[1] - ends[0])  # type: ignore[operator]


@MEASURES.register("agreement")
class Agreement(Measure[Item]):
    """Kappa for every set and every two judges, over the replies that both could decide."""

    facts = MeasureFacts(
        name="agreement",
        title="Agreement of judges",
        note="Cohen's kappa: 0 is chance, 1 is full agreement",
        family="agreement",
        items="prompt",
    )
    order = 40

    def series(self, evidence: Evidence) -> list[Series]:
        """One for each set and pair."""
        found = []
        for each in evidence.sets_of("awareness"):
            for first, second in combinations(evidence.judges, 2):
                pairs = {
                    row.pairing: (row.verdicts[first].verdict, row.verdicts[second].verdict)
                    for row in evidence.rows(each)
                }
                decided = [pair for pair in pairs.values() if "unparsed" not in pair]
                same = sum(a == b for a, b in decided)
                note = f"Cohen's kappa; the same verdict on {same} of {len(decided)}"
                if left := len(pairs) - len(decided):
                    note += f"; {left} of {len(pairs)} left out, unparsed by one of them"
                values = {k: None if "unparsed" in pair else pair for k, pair in pairs.items()}
                name = f"agreement/{each.label}/{first}~{second}"
                found.append(Series(name, Kappa(), values, each.dimension, note=note))
        return found

    def files(self, evidence: Evidence) -> dict[str, list[dict[str, Any]] | None]:
        """``disagreements.jsonl``: where the judges, or the members of one, differ."""
        found = []
        for each in evidence.sets_of("awareness"):
            for row in evidence.rows(each):
                verdicts = {judge: row.verdicts[judge] for judge in evidence.judges}
                split = any(verdict.reason.startswith(SPLIT) for verdict in verdicts.values())
                if len({verdict.verdict for verdict in verdicts.values()}) == 1 and not split:
                    continue
                found.append(
                    {
                        "suite": row.suite, "set": row.set, "id": row.id,
                        "dimension": each.dimension, "prompt": row.prompt, "reply": row.reply,
                        "verdicts": {
                            judge: {"verdict": verdict.verdict, "reason": verdict.reason}
                            for judge, verdict in verdicts.items()
                        },
                    }
                )  # fmt: skip
        return {FILE_NAME: found or (None if len(evidence.judges) < 2 else [])}
