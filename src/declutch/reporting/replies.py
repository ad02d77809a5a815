"""Which replies to show: chosen by a stated rule, never by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from declutch.reporting.values import Reply, ReplyPair

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


def first_judge(pairs: Sequence[ReplyPair]) -> str | None:
    """The judge by whose verdicts replies are chosen."""
    return next((judge for pair in pairs for judge in pair.before.verdicts), None)


def choose(pairs: Sequence[ReplyPair], judge: str | None) -> dict[str, list[Choice]]:
    """For each set the first pairs of every change of verdict, gains and losses alike.

    Sets that no judge looked at have one choice, «not judged».
    """
    sets: dict[str, list[Choice]] = {}
    suites = {pair.suite for pair in pairs}
    keys = dict.fromkeys((pair.suite, pair.set) for pair in pairs)
    for suite, name in keys:
        ways: dict[tuple[str, str], list[ReplyPair]] = {}
        for pair in pairs:
            if (pair.suite, pair.set) == (suite, name):
                ways.setdefault(_way(pair, judge), []).append(pair)
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


def _way(pair: ReplyPair, judge: str | None) -> tuple[str, str]:
    if judge is None:
        return "", ""
    return pair.before.verdicts.get(judge, ""), pair.after.verdicts.get(judge, "")


def _choice(title: str, pairs: Sequence[ReplyPair], judge: str | None) -> Choice:
    shown = tuple(
        ShownPair(pair.prompt, pair.id, _shown(pair.before, judge), _shown(pair.after, judge))
        for pair in pairs[:SHOWN]
    )
    return Choice(title, shown, len(pairs))


def _shown(reply: Reply, judge: str | None) -> ShownReply:
    notes = []
    text = reply.text
    if not text.strip():
        notes.append("empty reply")
    elif len(text) > LONGEST:
        text = text[:LONGEST].rsplit(" ", 1)[0] + " …"
        notes.append(f"shortened here: {len(reply.text):,} characters in all")
    if reply.cut:
        notes.append("the token limit ended this reply")
    return ShownReply(text, reply.verdicts.get(judge or "", "not judged"), tuple(notes))
