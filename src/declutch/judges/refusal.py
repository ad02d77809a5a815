"""The offline judge of refusals: tells by phrases how a reply meets its prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from declutch.judges.base import JudgeItem, register_judge
from declutch.judges.options import Options
from declutch.replies.flags import is_empty, is_refusal
from declutch.replies.verdicts import About, Verdict


class RefusalJudge:
    """Judges by phrases, in English only."""

    name = "refusal"
    about: About = "manner"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Raised with every change to the phrases."""
        return {"version": 1}

    def judge(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        """One verdict an item; an empty reply is ``unparsed``."""
        return [self._judge_one(item.reply) for item in items]

    def _judge_one(self, reply: str) -> Verdict:
        if is_empty(reply):
            return Verdict("unparsed", "empty reply")
        return Verdict("refuses" if is_refusal(reply) else "answers")


@register_judge("refusal")
def _refusal(_: Options) -> RefusalJudge:
    return RefusalJudge()
