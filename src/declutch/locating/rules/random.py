"""``random``: the control."""

from __future__ import annotations

import numpy as np

from declutch.errors import ShortlistTooShort
from declutch.locating.request import RULES, Request, Selection
from declutch.locating.rules.coupled import coupled


@RULES.register("random")
def random(request: Request) -> Selection:
    """The control: in each matrix as many positions as :func:`coupled`, at random."""
    return as_many(coupled(request), request.control, request.seed)


def as_many(chosen: Selection, control: Selection, seed: int) -> Selection:
    """In each matrix as many other positions, at random out of the scores' random ones.

    Raises:
        ShortlistTooShort: the scores hold too few of them.
    """
    selection = {}
    for matrix, positions in chosen.items():
        pool = np.setdiff1d(control[matrix], positions)
        generator = np.random.default_rng([seed, *matrix.encode()])
        if len(pool) < len(positions):
            raise ShortlistTooShort(
                f"The random control needs {len(positions):,} neurons of {matrix} beside the "
                f"coupled ones, and the scores hold {len(pool):,}. Give a smaller --ratio, or "
                "score again with a larger --shortlist."
            )
        selection[matrix] = np.sort(generator.choice(pool, len(positions), replace=False))
    return selection
