"""A rule: important for most of the coupled dimensions, not for all."""

from __future__ import annotations

import numpy as np

from declutch.locating import Request, Selection


def majority(request: Request) -> Selection:
    """Important for more than half of the coupled dimensions and for no excluded one."""
    selection = {}
    for matrix in request.matrices:
        tops = np.concatenate([request.tops[name][matrix] for name in request.couple])
        positions, counts = np.unique(tops, return_counts=True)
        most = positions[2 * counts > len(request.couple)]
        selection[matrix] = np.setdiff1d(most, request.excluded(matrix))
    return selection
