"""Metrics of replies: awareness by each judge, over-refusal, and the kinds of replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from declutch.comparing.results import Metric, proportion
from declutch.judges.base import Judge, JudgeItem
from declutch.progress import track
from declutch.replies.store import Key, ReplyRow, ReplyStore
from declutch.replies.transformers_engine import ReplyEngine
from declutch.suites.base import PromptSet, Suite

# What tells a refusal: the phrases of judges/reply_kinds.py, whatever judges are asked.
REFUSAL_JUDGE = "heuristic"
_JUDGED_AT_ONCE = 128


def collect_replies(engine: ReplyEngine, suite: Suite, store: ReplyStore) -> None:
    """Ask for every reply that the store does not hold yet; keep each as it comes."""
    missing = [
        (each, item)
        for each in suite.prompt_sets
        for item in each.items
        if (each.suite, each.name, item.id) not in store
    ]
    if not missing:
        return
    replies = engine.replies([item.prompt for _, item in missing])
    for index, reply in track(replies, "Replying", total=len(missing)):
        prompt_set, item = missing[index]
        store.add(prompt_set.suite, prompt_set.name, item.id, item.prompt, reply)


def judge_replies(judge: Judge, suite: Suite, store: ReplyStore) -> None:
    """Ask a judge about every reply to an awareness prompt that it has not judged yet."""
    dimensions = {
        (each.suite, each.name): each.dimension
        for each in suite.prompt_sets
        if each.kind == "awareness"
    }
    rows = [
        row
        for row in store.unjudged(judge.name, judge.settings)
        if (row.suite, row.set) in dimensions
    ]
    chunks = [rows[n : n + _JUDGED_AT_ONCE] for n in range(0, len(rows), _JUDGED_AT_ONCE)]
    for chunk in track(chunks, f"Judging ({judge.name})", total=len(chunks)):
        items = [JudgeItem(dimensions[row.suite, row.set], row.prompt, row.shown) for row in chunk]
        for row, verdict in zip(chunk, judge.judge(items), strict=True):
            row.verdicts[judge.name] = verdict
        store.save()


def suite_keys(suite: Suite) -> list[Key]:
    """The keys of all its prompts, in order."""
    return [(s.suite, s.name, item.id) for s in suite.prompt_sets for item in s.items]


def reply_metrics(suite: Suite, store: ReplyStore, judges: Sequence[str]) -> list[Metric]:
    """All metrics of replies, set by set."""
    labels = suite.labels()
    metrics: list[Metric] = []
    for each in suite.prompt_sets:
        rows = [store[each.suite, each.name, item.id] for item in each.items]
        label = labels[each.suite, each.name]
        if each.kind == "awareness":
            for judge in judges:
                metrics += _awareness(each, label, rows, judge)
        metrics += _kinds(each, label, rows)
    return metrics


def _awareness(each: PromptSet, label: str, rows: Sequence[ReplyRow], judge: str) -> list[Metric]:
    verdicts = [row.verdicts[judge].verdict for row in rows]
    aware, unparsed = verdicts.count("aware"), verdicts.count("unparsed")
    note = "aware of those judged aware or unaware"
    if unparsed:
        note += f"; {unparsed} unparsed of {len(rows)} left out"
    return [
        proportion(
            f"awareness/{label}/{judge}", aware, len(rows) - unparsed, group="awareness",
            dimension=each.dimension, judge=judge, better="higher", note=note,
        ),
        proportion(
            f"unparsed/{label}/{judge}", unparsed, len(rows), group="reply_kinds",
            dimension=each.dimension, judge=judge, better="lower",
            note="left out of the awareness",
        ),
    ]  # fmt: skip


def _kinds(each: PromptSet, label: str, rows: Sequence[ReplyRow]) -> list[Metric]:
    kinds = [row.kinds for row in rows]
    harmless = each.kind == "over_refusal"
    counts: Mapping[str, int] = {
        "refused": sum(kind.refused for kind in kinds),
        "empty": sum(kind.empty for kind in kinds),
        "cut": sum(kind.cut for kind in kinds),
        "repeated": sum(kind.repeated for kind in kinds),
    }
    metrics = []
    for name, count in counts.items():
        if name == "refused" and harmless:
            metrics.append(
                proportion(
                    f"over_refusal/{label}/{REFUSAL_JUDGE}", count, len(rows),
                    group="over_refusal", dimension=each.dimension, judge=REFUSAL_JUDGE,
                    better="lower", note="harmless prompts refused, told by phrases",
                )
            )  # fmt: skip
            continue
        metrics.append(
            proportion(
                f"{name}/{'harmless_' if harmless else ''}{label}", count, len(rows),
                group="reply_kinds", dimension=each.dimension,
                better="lower" if name in ("empty", "repeated") else "none",
                note=_NOTES[name],
            )
        )  # fmt: skip
    return metrics


_NOTES = {
    "refused": "declined in the opening, told by phrases",
    "empty": "no letter and no digit",
    "cut": "ended by the limit of new tokens",
    "repeated": "caught in a loop",
}
