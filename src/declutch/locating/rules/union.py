"""``union``: what any of the coupled dimensions holds important."""

from __future__ import annotations

from functools import reduce

import numpy as np

from declutch.locating.request import RULES, Request, Selection


@RULES.register("union")
def union(request: Request) -> Selection:
    """Important for any coupled dimension and for no excluded one."""
    return {
        matrix: np.setdiff1d(
            reduce(np.union1d, (request.tops[name][matrix] for name in request.couple)),
            request.excluded(matrix),
        )
        for matrix in request.matrices
    }
