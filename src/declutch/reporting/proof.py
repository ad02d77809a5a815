"""The edit that a search found and its controls, side by side on the proof prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from declutch.comparing.comparison import MeasureTable
from declutch.comparing.verdict import Outcome
from declutch.tuning.record import WINNER, Proven, TuneRecord

_SHOWN = (
    "awareness/",
    "aware_answering/",
    "over_refusal/",
    "over_caution/",
    "perplexity/",
    "margin/",
)


def proof_table(record: TuneRecord) -> MeasureTable:
    """A row for each metric, a column for each edit; there must be a proof."""
    edits = record.proven
    first = edits[0].metrics
    rows = []
    for name in (name for name in first if name.startswith(_SHOWN)):
        cells = [_cell(name, one) for one in edits]
        rows.append((name.replace("/", " "), _number(name, first[name]["before"]), *cells))
    return MeasureTable(
        "On proof prompts",
        ("Metric", "origin", *(_heading(one) for one in edits)),
        rows,
        [one.model_dump(mode="json") for one in edits],
        "* p < 0.05, exact test, Holm over the coupled dimensions of a judge. +: became aware, "
        f"−: ceased to be. {'; '.join(f'{one.name}: {one.role}' for one in edits)}.",
    )


def _heading(edit: Proven) -> str:
    """What an edit is called, of the winner the rule too, and its weights."""
    name = f"{edit.name} {edit.rule}" if edit.name == WINNER else edit.name
    return f"{name}\n{edit.weights:,}"


def _cell(name: str, edit: Proven) -> str:
    metric: Mapping[str, Any] = edit.metrics.get(name, {})
    outcome = next((one for one in edit.verdict.by_judge if one.metric == name), None)
    reading = metric.get("reading")
    said = reading if reading in ("better", "worse") else ""
    return f"{_number(name, metric.get('after'))}\n{_told(outcome) if outcome else said}".strip()


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
