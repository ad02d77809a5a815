"""The table of the whole units that a patch suppresses."""

from __future__ import annotations

from collections import Counter

from declutch.comparing.comparison import MeasureTable
from declutch.reporting import formats
from declutch.reporting.values import PatchSummary

_SHOWN = 40


def units_table(patch: PatchSummary) -> MeasureTable | None:
    """Layer, unit, weights and scores by dimension, in the order of the first dimension's scores.

    None for a patch of single weights.
    """
    if not patch.units:
        return None
    dimensions = list(patch.units[0].scores)
    ordered = sorted(patch.units, key=lambda one: -one.scores[dimensions[0]])
    blocks = Counter(layer for _, layer in {(one.block, one.layer) for one in patch.units})
    rows = []
    for one in ordered[:_SHOWN]:
        name = f"layer {one.layer}, {patch.granularity} {one.unit}"
        if blocks[one.layer] > 1 or one.block.endswith("]"):
            name += f" of {one.block.partition(f'.{one.layer}.')[2] or one.block}"
        scores = [formats.significant(one.scores[key]) for key in dimensions]
        rows.append((name, f"{one.weights:,}", *scores))
    note = (
        f"{formats.plural(len(patch.units), patch.granularity)} with all of their weights. A score "
        "is the sum of the scores of the unit's weights."
    )
    if len(rows) < len(ordered):
        note += f" Those with the {_SHOWN} highest of {dimensions[0]} are here, all in patch.json."
    return MeasureTable(
        f"Suppressed {patch.granularity}s",
        ("Unit", "Weights", *(key.replace(":", "\n") for key in dimensions)),
        rows,
        [one.model_dump(mode="json") for one in ordered],
        note,
    )
