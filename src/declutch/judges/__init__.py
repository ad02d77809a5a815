"""Judges: each decides aware, unaware or unparsed for a prompt and a reply; one file each."""

from __future__ import annotations

from declutch.judges.base import JUDGES, Judge, JudgeItem, get_judge, register_judge
from declutch.replies.verdicts import Verdict

__all__ = ["JUDGES", "Judge", "JudgeItem", "Verdict", "get_judge", "register_judge"]
