"""``single:DIMENSION``: what one dimension holds important."""

from __future__ import annotations

import numpy as np

from declutch.locating.request import RULES, Request, Selection


@RULES.register("single")
def single(request: Request, dimension: str) -> Selection:
    """Important for one dimension and for no excluded one."""
    top = request.tops[dimension]
    return {
        matrix: np.setdiff1d(top[matrix], request.excluded(matrix)) for matrix in request.matrices
    }
