"""``union``: what any of the coupled dimensions holds important."""

from __future__ import annotations

import numpy as np

from declutch.locating.request import RULES, Request, Selection


@RULES.register("union")
def union(request: Request) -> Selection:
    """Important for any coupled dimension and for no excluded one."""
    return request.joined(np.union1d)
