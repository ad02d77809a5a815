"""Batches of examples of like length under a budget of tokens."""

from __future__ import annotations

from collections.abc import Sequence


def length_batches(
    lengths: Sequence[int], max_tokens: int, max_examples: int | None = None
) -> list[list[int]]:
    """Group positions by length, longest first.

    A batch's padded size (its longest length × its number of examples) stays within
    ``max_tokens``, unless one example alone is longer. Longest first, so that a run that does not
    fit into memory fails at its start.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    for index in order:
        batch = batches[-1] if batches else []
        full = max_examples is not None and len(batch) >= max_examples
        if not batch or full or lengths[batch[0]] * (len(batch) + 1) > max_tokens:
            batches.append([index])
        else:
            batch.append(index)
    return batches
