"""Ask a judge about the replies that it has not judged yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from declutch.errors import SettingsError
from declutch.files import sha256_json
from declutch.judges.base import Judge, JudgeItem, about, get_judge
from declutch.progress import track
from declutch.replies.cutting import Cut
from declutch.replies.engine import strip_reasoning
from declutch.replies.store import ReplyStore
from declutch.replies.verdicts import SAID, About, Verdict
from declutch.suites.base import Suite

# Verdicts are on disk after each so many.
_AT_ONCE = 128
_OFFLINE: Mapping[About, str] = {"awareness": "heuristic", "manner": "refusal"}


def judge_replies(judge: Judge, suite: Suite, store: ReplyStore, cut: Cut | None = None) -> None:
    """Ask a judge about every reply that it has not judged yet.

    Awareness is a question about replies to awareness prompts alone, and none is asked about
    questions with options.

    Args:
        cut: judge the beginning of each reply. Where that is the whole, which must be judged
            already, its verdict is taken over.
    """
    name, settings = judge.name, judge.settings
    if cut is not None:
        name, settings = cut.name(name), {**settings, "first_tokens": cut.tokens}
    dimensions = {
        (each.suite, each.name): each.dimension
        for each in suite.prompt_sets
        if each.kind == "awareness" or (each.kind == "over_refusal" and about(judge) == "manner")
    }
    rows = [row for row in store.unjudged(name, settings) if (row.suite, row.set) in dimensions]
    shown = {row.key: strip_reasoning(cut(row.reply)) if cut else row.shown for row in rows}
    if cut is not None:
        for row in [row for row in rows if shown[row.key] == row.shown]:
            row.verdicts[name] = row.verdicts[judge.name]
        rows = [row for row in rows if name not in row.verdicts]
    chunks = [rows[n : n + _AT_ONCE] for n in range(0, len(rows), _AT_ONCE)]
    for chunk in track(chunks, f"Judging ({name})", total=len(chunks)):
        items = [
            JudgeItem(dimensions[row.suite, row.set], row.prompt, shown[row.key]) for row in chunk
        ]
        for row, verdict in zip(chunk, verdicts_of(judge, items), strict=True):
            row.verdicts[name] = verdict
        store.save()


def verdicts_of(judge: Judge, items: Sequence[JudgeItem]) -> list[Verdict]:
    """One verdict an item, of a judge that may be another's.

    Raises:
        SettingsError: it gives something else; nothing of it is kept.
    """
    given: object = judge.judge(items)
    found: list[Any] = list(given) if isinstance(given, Iterable) else [given]
    for each in found:
        if not isinstance(each, Verdict) or each.verdict not in SAID[about(judge)]:
            raise SettingsError(
                f"The judge {judge.name} gives {each!r:.100}, where Verdict("
                f"{' | '.join(SAID[about(judge)])}) is needed."
            )
    if len(found) != len(items):
        raise SettingsError(
            f"The judge {judge.name} gives {len(found)} verdicts on {len(items)} replies; one for "
            "each is needed."
        )
    return found


def find_judges(references: Sequence[str | Judge]) -> list[Judge]:
    """Judges by name, or as they are: first those of awareness, then those of manner.

    Where none is of the one sort, the offline one of that sort is among them.

    Raises:
        SettingsError: one is unknown, or two have one name.
    """
    if isinstance(references, str):
        references = [references]
    for each in references:
        if not isinstance(each, str | Judge):
            raise SettingsError(
                f"A judge is a name or a Judge (docs/extend.md), not {each!r:.100}."
            )
    given = [get_judge(each) if isinstance(each, str) else each for each in references]
    judges = [judge for sort in _OFFLINE for judge in _of_sort(sort, given)]
    names = [judge.name for judge in judges]
    for judge in judges:
        _check_kept(judge)
    if len(set(names)) < len(names):
        raise SettingsError(f"--judge names a judge twice: {', '.join(names)}.")
    return judges


def _of_sort(sort: About, judges: Sequence[Judge]) -> list[Judge]:
    return [judge for judge in judges if about(judge) == sort] or [get_judge(_OFFLINE[sort])]


def _check_kept(judge: Judge) -> None:
    """See, before the long work, that what is kept of a judge can be written.

    Raises:
        SettingsError: its name is no text, or its settings are no JSON.
    """
    name, settings = judge.name, judge.settings
    try:
        sha256_json(dict(settings))
        kept = isinstance(name, str) and bool(name) and not set("/~") & set(name)
    except (TypeError, ValueError):
        kept = False
    if not kept:
        raise SettingsError(
            f"A judge's name must be a text without / or ~, and its settings values of JSON by "
            f"name; here they are {name!r:.100} and {settings!r:.200}."
        )
