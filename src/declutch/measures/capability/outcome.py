"""What was measured of one item of a capability task."""

from __future__ import annotations

from typing import Literal

from declutch.items import Item, Number

OutcomeKind = Literal["correct", "number", "nll"]


class CapabilityItem(Item):
    """The outcome of one item.

    Attributes:
        set: the task.
        kind: whether the value says right (1) or wrong (0), is a number that is better the
            higher, or the NLL (nats) of a text.
        tokens: predicted tokens of a text.
    """

    kind: OutcomeKind
    value: Number
    tokens: int = 0
