"""What a search found and what was proven of it, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from declutch.comparing.comparison import Comparison
from declutch.reporting import exchanges, formats, gains
from declutch.reporting.proof import proof_table
from declutch.reporting.tables import NamedNumbers
from declutch.terminal import visible
from declutch.tuning.record import WINNER, TuneRecord

if TYPE_CHECKING:
    from declutch.tuning.tune import Tuned

_LONGEST = 400  # characters of a reply
_COLOURS = {"helps all": "green", "helps some": "yellow", "harms": "red", "no evidence": "yellow"}


def tuned(found: Tuned) -> Iterator[RenderableType]:
    """The verdict, the winner and its controls side by side, and how the search went."""
    record = found.record
    word = record.proven[0].verdict.word if record.proven else "no evidence"
    yield Text(record.sentence, f"bold {_COLOURS[word]}")
    if record.proven:
        yield NamedNumbers.of(proof_table(record))
        yield from _remarks(record)
        comparison = found.proof[WINNER][1]
        flow = comparison.tables["flow"].values if "flow" in comparison.tables else ()
        for sentence in gains.sentences(flow, record.couple):
            yield Text(sentence)
        rose = [row for row in comparison.outcomes if row.reading == "better"]
        for sentence in gains.called(flow, rose):
            yield Text(f"Note: {sentence}.", "yellow")
        yield from _replies(comparison, record)
    yield Text(
        f"{record.tried} candidates tried ({record.seconds_each:.1f} s each, {record.tokens} "
        f"tokens), {record.within_limits} within the limits, {len(record.generated)} replied to "
        "tuning prompts.",
        "dim",
    )
    if any(worth["correlation"] is not None for worth in record.predictors.values()):
        table = NamedNumbers(
            "Cheap measures", "rank correlation", "weight",
            caption="with what the replies showed, over the candidates that replied",
        )  # fmt: skip
        for name, worth in record.predictors.items():
            table.row(name, *(_signed(worth[key]) for key in ("correlation", "weight")))
        yield table


def _signed(value: float | None) -> str:
    return "–" if value is None else formats.signed(value, 2)


def _remarks(record: TuneRecord) -> Iterator[RenderableType]:
    assert record.winner is not None
    yield Text(f"Winner: {record.winner.edit.name} ({record.winner.edit.weights:,} weights)")
    for name, value in record.optimism.items():
        if not value:
            continue
        way = "more" if value > 0 else "less"
        why = ": what a search makes of chance" if value > 0 else ""
        yield Text(
            f"On the tuning prompts {name} gained {abs(100 * value):.0f} points {way} than on the "
            f"proof prompts{why}.",
            "dim",
        )
    for one in record.proven[0].verdict.by_judge:
        if one.prompts_needed:
            yield Text(
                f"{one.dimension}, {one.judge}: {one.pairs} prompts leave it open; a difference of "
                f"this size would show with about {one.prompts_needed:,}.",
                "dim",
            )


def _replies(comparison: Comparison, record: TuneRecord) -> Iterator[RenderableType]:
    """Of each coupled dimension the first prompt that became aware and the first that ceased."""
    judge = exchanges.first_judge(comparison.replies)
    if judge is None:
        return
    dimensions = {
        (one.suite, one.set): one.dimension
        for one in comparison.after.sets
        if one.kind == "awareness"
    }
    for name in record.couple:
        own = [p for p in comparison.replies if dimensions.get((p[0].suite, p[0].set)) == name]
        for before, after in (("unaware", "aware"), ("aware", "unaware")):
            moved = [pair for pair in own if exchanges.way(pair, judge) == (before, after)]
            if moved:
                old, new = moved[0]
                yield Text(
                    f"\n{name}, {before} → {after} by {judge} (the first of {len(moved)}): "
                    f"{visible(old.prompt)}", "bold",
                )  # fmt: skip
                for side, one in (("before", old), ("after", new)):
                    text = " ".join(visible(one.shown).split())
                    yield Padding(Text(f"{side}: {text[:_LONGEST]}"), (0, 0, 0, 2))
