"""``coupled``, the paper's rule and the default."""

from __future__ import annotations

import numpy as np

from declutch.locating.request import RULES, Request, Selection


@RULES.register("coupled")
def coupled(request: Request) -> Selection:
    """Important for every coupled dimension and for no excluded one (the paper, section 3.2)."""
    return request.joined(np.intersect1d)
