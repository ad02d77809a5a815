"""``coupled``, the paper's rule and the default."""

from __future__ import annotations

from functools import reduce

import numpy as np

from declutch.locating.request import RULES, Request, Selection


@RULES.register("coupled")
def coupled(request: Request) -> Selection:
    """Important for every coupled dimension and for no excluded one (the paper, section 3.2)."""
    return {
        matrix: np.setdiff1d(
            reduce(np.intersect1d, (request.tops[name][matrix] for name in request.couple)),
            request.excluded(matrix),
        )
        for matrix in request.matrices
    }
