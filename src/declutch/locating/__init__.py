"""Choose neurons from shortlists: rules, top positions, and the patch they make."""

from __future__ import annotations

from declutch.locating.locate import check_dimensions, find_rule, locate
from declutch.locating.request import (
    CONTRASTING,
    RULES,
    Choice,
    Positions,
    Request,
    Selection,
)
from declutch.locating.tops import important, ratio_notes, top_positions

__all__ = [
    "CONTRASTING", "RULES", "Choice", "Positions", "Request", "Selection", "check_dimensions",
    "find_rule", "important", "locate", "ratio_notes", "top_positions",
]  # fmt: skip
