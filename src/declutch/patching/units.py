"""What a patch of whole units says of them."""

from __future__ import annotations

from declutch.records import Record


class ChosenUnit(Record):
    """A neuron of an MLP, an attention head or an expert that a patch suppresses.

    Attributes:
        block: the module that it is a unit of, by its name in the model.
        unit: its number there, from 0.
        weights: how many it has in all of its matrices.
        scores: by dimension the sum of all their scores.
    """

    block: str
    layer: int
    unit: int
    weights: int
    scores: dict[str, float]
