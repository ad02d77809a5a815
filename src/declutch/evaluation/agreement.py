"""Agreement of the judges of one run: Cohen's kappa, and the replies on which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from declutch.evaluation import statistics
from declutch.evaluation.enough import too_few
from declutch.evaluation.results import Metric
from declutch.evaluation.store import ReplyRow, ReplyStore
from declutch.evaluation.suites import PromptSet, Suite

FILE_NAME = "disagreements.jsonl"


def agreement_metrics(
    suite: Suite, store: ReplyStore, judges: Sequence[str], seed: int = 0
) -> list[Metric]:
    """For every set and every two judges: kappa over the replies that both could decide.

    Its interval is a percentile bootstrap over the replies. A kappa has no value where one of the
    two gave a single verdict throughout and so did the other: nothing can be said beyond chance.
    """
    labels = suite.labels()
    metrics = []
    for each in suite.prompt_sets:
        if each.kind != "awareness":
            continue
        rows = _rows(each, store)
        label = labels[each.suite, each.name]
        for pair in combinations(judges, 2):
            name = f"agreement/{label}/{pair[0]}~{pair[1]}"
            metrics.append(_kappa(name, each.dimension, rows, pair, seed))
    return metrics


def _kappa(
    name: str, dimension: str, rows: Sequence[ReplyRow], judges: tuple[str, str], seed: int
) -> Metric:
    first, second = judges
    pairs = [(row.verdicts[first].verdict, row.verdicts[second].verdict) for row in rows]
    decided = [pair for pair in pairs if "unparsed" not in pair]
    same = sum(a == b for a, b in decided)
    note = f"Cohen's kappa; the same verdict on {same} of {len(decided)}"
    if len(decided) < len(pairs):
        note += f"; {len(pairs) - len(decided)} of {len(pairs)} left out, unparsed by one of them"
    value, interval = None, None
    if decided:
        a, b = [pair[0] for pair in decided], [pair[1] for pair in decided]
        value = statistics.cohens_kappa(a, b)
        if value is not None and not too_few(len(decided)):
            interval = statistics.kappa_interval(a, b, seed)
    return Metric(
        name=name,
        group="agreement",
        dimension=dimension,
        kind="mean",
        value=value,
        total=len(decided),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        note=note,
    )


def disagreements(suite: Suite, store: ReplyStore, judges: Sequence[str]) -> list[dict[str, Any]]:
    """Rows for ``disagreements.jsonl``: replies on which the judges did not all say the same."""
    found = []
    for each in suite.prompt_sets:
        if each.kind != "awareness":
            continue
        for row in _rows(each, store):
            verdicts = {judge: row.verdicts[judge] for judge in judges}
            if len({verdict.verdict for verdict in verdicts.values()}) > 1:
                found.append(
                    {
                        "suite": row.suite,
                        "set": row.set,
                        "id": row.id,
                        "dimension": each.dimension,
                        "prompt": row.prompt,
                        "reply": row.reply,
                        "verdicts": {
                            judge: {"verdict": verdict.verdict, "reason": verdict.reason}
                            for judge, verdict in verdicts.items()
                        },
                    }
                )
    return found


def _rows(each: PromptSet, store: ReplyStore) -> list[ReplyRow]:
    return [store[each.suite, each.name, item.id] for item in each.items]
