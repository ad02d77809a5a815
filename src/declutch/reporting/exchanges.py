"""Which replies to show: chosen by a stated rule, never by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from declutch.replies.store import ReplyRow

Pair = tuple[ReplyRow, ReplyRow]
SHOWN = 2
LONGEST = 600


@dataclass(frozen=True, slots=True)
class ShownReply:
    """A reply ready to be shown: its text, perhaps cut, and what is to be said of it."""

    text: str
    verdict: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShownPair:
    prompt: str
    id: str
    before: ShownReply
    after: ShownReply

    @property
    def same(self) -> bool:
        return self.before == self.after


@dataclass(frozen=True, slots=True)
class Choice:
    """Pairs of one set whose verdict went the same way; ``total`` is how many there are."""

    title: str
    pairs: tuple[ShownPair, ...]
    total: int


def rule(judge: str | None) -> str:
    """The rule of :func:`choose`, to stand above what it chose."""
    by = f"the verdict of the judge «{judge}»" if judge else "the verdict"
    return (
        f"Chosen by rule, not by hand: of each set the first {SHOWN} prompts, in the set's order, "
        f"for which {by} changed in each direction, then the first {SHOWN} for which it did not. "
        "All replies are in before/replies.jsonl and after/replies.jsonl."
    )


def first_judge(pairs: Sequence[Pair]) -> str | None:
    """The judge by whose verdicts replies are chosen."""
    whole = (judge for pair in pairs for judge in pair[0].verdicts if "~" not in judge)
    return next(whole, None)


def choose(pairs: Sequence[Pair], judge: str | None) -> dict[str, list[Choice]]:
    """For each set the first pairs of every change of verdict, gains and losses alike.

    Sets that no judge looked at have one choice, «not judged».
    """
    sets: dict[str, list[Choice]] = {}
    suites = {pair[0].suite for pair in pairs}
    keys = dict.fromkeys((pair[0].suite, pair[0].set) for pair in pairs)
    for suite, name in keys:
        ways: dict[tuple[str, str], list[Pair]] = {}
        for pair in pairs:
            if (pair[0].suite, pair[0].set) == (suite, name):
                ways.setdefault(way(pair, judge), []).append(pair)
        title = f"{suite}/{name}" if len(suites) > 1 else name
        changed = sorted(way for way in ways if way[0] != way[1])
        same = sorted(way for way in ways if way[0] == way[1])
        choices = [_choice(" → ".join(way), ways[way], judge) for way in changed]
        if same:
            unchanged = [pair for pair in pairs if any(pair in ways[way] for way in same)]
            label = "not judged" if same == [("", "")] else "unchanged"
            choices.append(_choice(label, unchanged, judge))
        sets[title] = choices
    return sets


def way(pair: Pair, judge: str | None) -> tuple[str, str]:
    """The verdict before and after; empty where the judge gave none."""
    if judge is None:
        return "", ""
    return _said(pair[0], judge), _said(pair[1], judge)


def _said(reply: ReplyRow, judge: str, otherwise: str = "") -> str:
    verdict = reply.verdicts.get(judge)
    return verdict.verdict if verdict else otherwise


def _choice(title: str, pairs: Sequence[Pair], judge: str | None) -> Choice:
    shown = tuple(
        ShownPair(pair[0].prompt, pair[0].id, _shown(pair[0], judge), _shown(pair[1], judge))
        for pair in pairs[:SHOWN]
    )
    return Choice(title, shown, len(pairs))


def _shown(reply: ReplyRow, judge: str | None) -> ShownReply:
    notes = []
    text = reply.reply
    if not text.strip():
        notes.append("empty reply")
    elif len(text) > LONGEST:
        text = text[:LONGEST].rsplit(" ", 1)[0] + " …"
        notes.append(f"shortened here: {len(reply.reply):,} characters in all")
    if reply.finish == "length":
        notes.append("the token limit ended this reply")
    return ShownReply(text, _said(reply, judge or "", "not judged"), tuple(notes))
