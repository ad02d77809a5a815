"""What a search found and what was proven of it, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.text import Text

from declutch.comparing.verdict import Outcome
from declutch.reporting import formats, gains
from declutch.reporting.tables import NamedNumbers
from declutch.tuning.record import WINNER, Proven, TuneRecord

if TYPE_CHECKING:
    from declutch.tuning.tune import Tuned

_COLOURS = {"helps all": "green", "helps some": "yellow", "harms": "red", "no evidence": "yellow"}
_SHOWN = (
    "awareness/",
    "aware_answering/",
    "over_refusal/",
    "over_caution/",
    "perplexity/",
    "margin/",
)


def tuned(found: Tuned) -> Iterator[RenderableType]:
    """The verdict, the winner and its controls side by side, and how the search went."""
    record = found.record
    word = record.proven[0].verdict.word if record.proven else "no evidence"
    yield Text(record.sentence, f"bold {_COLOURS[word]}")
    if record.proven:
        yield _side_by_side(record)
        yield from _remarks(record)
        comparison = found.proof[WINNER][1]
        flow = comparison.tables["flow"].values if "flow" in comparison.tables else ()
        for sentence in gains.sentences(flow, record.couple):
            yield Text(sentence)
        rose = [row for row in comparison.outcomes if row.reading == "better"]
        for sentence in gains.called(flow, rose):
            yield Text(f"Note: {sentence}.", "yellow")
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


def _side_by_side(record: TuneRecord) -> NamedNumbers:
    edits = record.proven
    table = NamedNumbers(
        "On proof prompts", "origin", *(f"{e.name}\n{e.weights:,}" for e in edits),
        caption="* p < 0.05, exact McNemar, Holm over the coupled dimensions; +: became aware, "
        "−: ceased to be",
    )  # fmt: skip
    for name in edits[0].metrics:
        if name.startswith(_SHOWN):
            before = edits[0].metrics[name]["before"]
            cells = [_cell(name, one) for one in edits]
            table.row(name.replace("/", " "), _number(name, before), *cells)
    return table


def _cell(name: str, edit: Proven) -> tuple[str, str]:
    metric: Mapping[str, Any] = edit.metrics.get(name, {})
    outcome = next((one for one in edit.verdict.by_judge if one.metric == name), None)
    reading = metric.get("reading")
    loud = reading if reading in ("better", "worse") else ""
    return _number(name, metric.get("after")), _told(outcome) if outcome else str(loud)


def _told(outcome: Outcome) -> str:
    if outcome.gained is None:
        return ""
    told = "" if outcome.way == "open" else " *"
    return f"+{outcome.gained} −{outcome.lost}{told}"


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name.startswith(("aware", "over_")):
        return f"{100 * value:.0f} %"
    return f"{value:.2f}" if name.startswith("perplexity") else f"{value:+.3f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else formats.signed(value, 2)


def _remarks(record: TuneRecord) -> Iterator[RenderableType]:
    assert record.winner is not None
    yield Text(f"Winner: {record.winner.edit.name} ({record.winner.edit.weights:,} weights)")
    for name, value in record.optimism.items():
        if not value:
            continue
        yield Text(
            f"On the tuning prompts {name} gained {100 * value:+.0f} points more than on the proof "
            "prompts: what a search makes of chance.",
            "dim",
        )
    for one in record.proven[0].verdict.by_judge:
        if one.prompts_needed:
            yield Text(
                f"{one.dimension}, {one.judge}: {one.pairs} prompts leave it open; a difference of "
                f"this size would show with about {one.prompts_needed:,}.",
                "dim",
            )
