"""Where a gain in awareness comes from, in words: pure functions of the table of flow."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from declutch.comparing.comparison import ComparisonRow
from declutch.measures.flow import AWARE
from declutch.reporting import formats

# «From» and «to» with their count, as the measure of flow writes them.
Moves = Sequence[Mapping[str, Any]]
_BY = {
    "refusing": " did so by refusing",
    "lecturing": " by lecturing",
    "answering": " by an answer",
}


def sentences(moves: Moves, dimensions: Container[str]) -> Iterator[str]:
    """How prompts became aware, one for each judge.

    Args:
        moves: the table of flow, as values.
        dimensions: those that count.
    """
    moves = [move for move in moves if move["dimension"] in dimensions]
    judges = dict.fromkeys(move["judge"] for move in moves)
    for judge in judges:
        own = [move for move in moves if move["judge"] == judge]
        text = f"By {judge}: of" if len(judges) > 1 else "Of"
        text += f" {formats.plural(_sum(own, ('unaware',), AWARE), 'prompt')} that became aware, "
        ways = [f"{_sum(own, ('unaware',), (way,))}{by}" for way, by in _BY.items()]
        text += formats.joined(ways)
        before, after = (
            sum(move["prompts"] for move in own if move[side] == "answering")
            for side in ("before", "after")
        )
        lost = _sum(own, AWARE, ("unaware",))
        yield (
            f"{text}; {lost} ceased to be aware. Aware answers went from {before} to {after} of "
            f"{sum(move['prompts'] for move in own)}."
        )


def called(moves: Moves, rose: Sequence[ComparisonRow]) -> list[str]:
    """What gains are to be called that are more than half refusals or lectures.

    Args:
        rose: the rows of awareness that are a gain.
    """
    found: dict[str, list[str]] = {}
    for row in rose:
        own = [move for move in moves if f"awareness/{move['set']}/{move['judge']}" == row.name]
        net = {way: _net(own, way) for way in AWARE}
        half = sum(net.values()) / 2
        kinds = {
            "refusals": net["refusing"],
            "lectures": net["lecturing"],
            "refusals and lectures": net["refusing"] + net["lecturing"],
        }
        kind = next((kind for kind, count in kinds.items() if count > half > 0), None)
        if kind:
            found.setdefault(kind, []).append(row.metric.dimension or row.metric.label)
    return [
        f"the gain on {formats.joined(list(dict.fromkeys(names)))} is mostly {kind}"
        for kind, names in found.items()
    ]


def _sum(moves: Moves, before: Container[str], after: Container[str]) -> int:
    return sum(m["prompts"] for m in moves if m["before"] in before and m["after"] in after)


def _net(moves: Moves, way: str) -> int:
    """By how many more prompts are met in a way, of those that both sides could tell."""
    told = [move for move in moves if "unparsed" not in (move["before"], move["after"])]
    return sum(
        move["prompts"] * ((move["after"] == way) - (move["before"] == way)) for move in told
    )
