"""Judges: each decides aware, unaware or unparsed for a prompt and a reply."""

from __future__ import annotations

from declutch.evaluation.judges import embedding as _embedding
from declutch.evaluation.judges import guards as _guards
from declutch.evaluation.judges import heuristic as _heuristic
from declutch.evaluation.judges import policy as _policy
from declutch.evaluation.judges.base import (
    Judge,
    JudgeItem,
    Verdict,
    get_judge,
    judge_names,
    register_judge,
)

__all__ = ["Judge", "JudgeItem", "Verdict", "get_judge", "judge_names", "register_judge"]

# Imported for what they register; none of them loads a model or a heavy package.
_REGISTERED = (_embedding, _guards, _heuristic, _policy)
