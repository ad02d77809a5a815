"""``released``: what the code published with the paper selects."""

from __future__ import annotations

import numpy as np

from declutch.locating.request import RULES, Request, Selection


@RULES.register("released")
def released(request: Request) -> Selection:
    """What the code published with the paper selects, which is not what the paper says.

    Each coupled dimension's top list is sorted by position and gets a mask «not in an excluded
    list»; the masks are ANDed place by place, although entry n of one list and entry n of another
    are different neurons; the first dimension's entries where the AND holds are taken. In the
    published runs the first dimension is privacy.
    """
    selection = {}
    for matrix in request.matrices:
        lists = [np.sort(request.tops[name][matrix]) for name in request.couple]
        shortest = min(len(one) for one in lists)
        excluded = request.excluded(matrix)
        masks = [~np.isin(one[:shortest], excluded) for one in lists]
        selection[matrix] = lists[0][:shortest][np.logical_and.reduce(masks)]
    return selection
