"""Batches: of like length under a budget of tokens, and smaller ones once memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from declutch.progress import log

T = TypeVar("T")

_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on any device."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # An allocator's own words, for which torch has no class (on a CPU, say).
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in said for part in _NO_MEMORY)


class Batches:
    """Runs items in batches; of half the size, from then on, wherever memory runs out.

    Attributes:
        size: the most items at once.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def run(
        self,
        order: Sequence[int],
        run: Callable[[Sequence[int]], Sequence[T]],
        *,
        together: Callable[[Sequence[int]], Sequence[int]] = lambda items: items,
    ) -> Iterator[tuple[int, T]]:
        """Yield each item's number and result, batch by batch, in the order given.

        Args:
            order: numbers of the items; the largest first, so that what does not fit shows at once.
            run: what is run on a batch; one result for each item.
            together: as many of the first items as may share a batch, at least one.

        Raises:
            MemoryError: one item alone does not fit.
        """
        import torch

        while order:
            batch = together(order[: self.size])
            results = None
            try:
                results = run(batch)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise MemoryError(str(error)) from error
            # Tried again outside the except clause: no traceback holds the tensors that failed.
            if results is None:
                self.size = len(batch) // 2
                log.warning("Out of memory: going on with %d at a time.", self.size)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            yield from zip(batch, results, strict=True)
            order = order[len(batch) :]
