"""Where the prompts of a forward pass end, for what changes a model at its prompts alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

_told: ContextVar[Tensor | None] = ContextVar("prompt_lengths", default=None)


@contextmanager
def prompts_end(lengths: Tensor) -> Iterator[None]:
    """Say it inside a ``with`` block.

    Args:
        lengths: ``[B]``: the prompt's tokens of each row, which is padded on the right.
    """
    token = _told.set(lengths)
    try:
        yield
    finally:
        _told.reset(token)


def prompt_lengths() -> Tensor | None:
    """What was said of this pass, if anything."""
    return _told.get()
