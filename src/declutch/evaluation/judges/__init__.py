"""Judges: each decides aware, unaware or unparsed for a prompt and a reply."""

from __future__ import annotations

from declutch.evaluation.judges import heuristic as _heuristic  # registers itself
from declutch.evaluation.judges.base import (
    Judge,
    JudgeItem,
    Verdict,
    get_judge,
    judge_names,
    register_judge,
)

__all__ = ["Judge", "JudgeItem", "Verdict", "get_judge", "judge_names", "register_judge"]

del _heuristic
