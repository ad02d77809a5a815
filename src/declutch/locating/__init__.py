"""Choose neurons from shortlists: rules, top positions, and the patch they make."""

from __future__ import annotations

from declutch.locating.locate import check_options, locate
from declutch.locating.request import RULES, Positions, Request, Selection
from declutch.locating.tops import Scope, important, ratio_notes, top_positions

__all__ = [
    "RULES", "Positions", "Request", "Scope", "Selection", "check_options", "important", "locate",
    "ratio_notes", "top_positions",
]  # fmt: skip
