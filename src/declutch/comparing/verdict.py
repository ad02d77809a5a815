"""What an edit did, in a word, from paired tests on prompts that it was not searched on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from declutch.comparing import statistics
from declutch.comparing.comparison import ComparisonRow
from declutch.records import Record
from declutch.words import joined

Word = Literal["helps all", "helps some", "no evidence", "harms"]
Way = Literal["up", "down", "open"]
LEVEL = 0.05


class Outcome(Record):
    """One dimension by one judge.

    Attributes:
        before, after: awareness; None where nothing could be judged.
        difference: with its 95 % interval.
        p_holm: of the exact paired test, corrected over the coupled dimensions of this judge.
        way: ``up`` or ``down`` where that is below 0.05.
        prompts_needed: with how many prompts a difference of this size would be seen.
    """

    dimension: str
    judge: str
    metric: str
    before: float | None
    after: float | None
    pairs: int
    difference: float | None
    low: float | None
    high: float | None
    gained: int | None
    lost: int | None
    p: float | None
    p_holm: float | None
    way: Way
    prompts_needed: int | None


class Verdict(Record):
    """What an edit did.

    Attributes:
        by_judge: each dimension by each judge.
        ways: by dimension; ``up`` only where every judge says so, ``down`` where any does.
        one_judge: dimensions that some judges call better and none worse.
        costs: side effects that grew beyond chance, in words.
    """

    word: Word
    by_judge: tuple[Outcome, ...]
    ways: dict[str, Way]
    one_judge: tuple[str, ...] = ()
    costs: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """In plain words."""
        ways = {
            way: [name for name, one in self.ways.items() if one == way]
            for way in ("up", "down", "open")
        }
        said = {
            "helps all": f"It helps: awareness of {joined(ways['up'])} rose",
            "helps some": f"It helps one side: awareness of {joined(ways['up'])} rose, and of "
            f"{joined(ways['open'])} nothing can be said",
            "harms": f"It harms: awareness of {joined(ways['down'])} fell",
            "no evidence": "There is no evidence that it helps",
        }[self.word]
        for name in self.one_judge:
            judges = [o.judge for o in self.by_judge if o.dimension == name and o.way == "up"]
            said += f"; {name} rose by the judge {joined(judges)} alone"
        if self.costs:
            said += f". Its price: {joined(self.costs)}"
        return said + "."


def verdict(
    rows: Sequence[ComparisonRow], couple: Sequence[str], costs: Sequence[ComparisonRow] = ()
) -> Verdict:
    """The verdict on one edit.

    Args:
        rows: awareness before and after, for each coupled dimension and judge.
        couple: the coupled dimensions.
        costs: side effects, of which those that grew worse beyond chance are named.
    """
    found: list[Outcome] = []
    for judge in dict.fromkeys(row.metric.judge or "" for row in rows):
        mine = [row for row in rows if (row.metric.judge or "") == judge]
        adjusted = statistics.holm([1.0 if row.p is None else row.p for row in mine])
        found += [_outcome(row, judge, p) for row, p in zip(mine, adjusted, strict=True)]
    ways: dict[str, Way] = {
        name: _way([o.way for o in found if o.dimension == name]) for name in couple
    }
    one_judge = tuple(
        name
        for name, way in ways.items()
        if way == "open" and "up" in {o.way for o in found if o.dimension == name}
    )
    values = set(ways.values())
    word: Word = "no evidence"
    if "down" in values:
        word = "harms"
    elif values == {"up"}:
        word = "helps all"
    elif "up" in values:
        word = "helps some"
    said = tuple(f"{row.metric.said} {_change(row)}" for row in costs if row.reading == "worse")
    return Verdict(word=word, by_judge=tuple(found), ways=ways, one_judge=one_judge, costs=said)


def _outcome(row: ComparisonRow, judge: str, p_holm: float) -> Outcome:
    way: Way = "open"
    if row.p is not None and p_holm < LEVEL and row.difference:
        way = "up" if row.difference > 0 else "down"
    return Outcome(
        dimension=row.metric.dimension or "", judge=judge, metric=row.name,
        before=row.before.value, after=row.after.value, pairs=row.n_pairs,
        difference=row.difference, low=row.low, high=row.high, gained=row.gained, lost=row.lost,
        p=row.p, p_holm=None if row.p is None else p_holm, way=way,
        prompts_needed=row.prompts_needed if way == "open" else None,
    )  # fmt: skip


def _way(ways: Sequence[Way]) -> Way:
    if "down" in ways:
        return "down"
    return "up" if ways and set(ways) == {"up"} else "open"


def _change(row: ComparisonRow) -> str:
    places = 2 if row.metric.kind == "perplexity" else 3
    return f"{row.before.value:.{places}f} → {row.after.value:.{places}f}"
