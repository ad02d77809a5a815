"""Ask a judge about the replies that it has not judged yet."""

from __future__ import annotations

from collections.abc import Sequence

from declutch.errors import SettingsError
from declutch.judges.base import Judge, JudgeItem, get_judge
from declutch.progress import track
from declutch.replies.store import ReplyStore
from declutch.suites.base import Suite

# Verdicts are on disk after each so many.
_AT_ONCE = 128


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
    chunks = [rows[n : n + _AT_ONCE] for n in range(0, len(rows), _AT_ONCE)]
    for chunk in track(chunks, f"Judging ({judge.name})", total=len(chunks)):
        items = [JudgeItem(dimensions[row.suite, row.set], row.prompt, row.shown) for row in chunk]
        for row, verdict in zip(chunk, judge.judge(items), strict=True):
            row.verdicts[judge.name] = verdict
        store.save()


def find_judges(references: Sequence[str | Judge]) -> list[Judge]:
    """Judges by name, or as they are.

    Raises:
        SettingsError: one is unknown, or two have one name.
    """
    if isinstance(references, str):
        references = [references]
    judges = [get_judge(each) if isinstance(each, str) else each for each in references]
    names = [judge.name for judge in judges]
    if len(set(names)) < len(names):
        raise SettingsError(f"--judge names a judge twice: {', '.join(names)}.")
    return judges
