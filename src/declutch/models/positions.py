"""How many positions a model has, where it keeps them in a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sized
from typing import Any

from torch import nn

from declutch.errors import SettingsError

# Rotary positions have no table: beyond the configured number they go on, if worse and worse.
_TABLE = re.compile(r"(^|\.)(wpe|embed_positions|position_embeddings?|pos_emb\w*)$")


def stated_positions(config: Any) -> int | None:
    """The number of positions that a model's configuration names, if it names any."""
    names = ("max_position_embeddings", "n_positions", "n_ctx")
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if isinstance(value, int) and value > 1), None)


def position_table(model: nn.Module) -> int | None:
    """The number of positions that a model's table holds; None where it has none."""
    stated = stated_positions(getattr(model, "config", None))
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and _TABLE.search(name):
            # Some tables begin with rows that no position uses.
            return min(stated or module.num_embeddings, module.num_embeddings)
    return None


def refuse_too_long(model: nn.Module, examples: Iterable[Sized], name: str) -> None:
    """Refuse a dimension's examples that are longer than the model's table of positions.

    Raises:
        SettingsError: one is.
    """
    positions = position_table(model)
    longest = max(map(len, examples), default=0)
    if positions is not None and longest > positions:
        raise SettingsError(
            f"An example of {name} has {longest} tokens, and the model has {positions} "
            f"positions. Give --max-length {positions} (responses are cut, never prompts)."
        )
