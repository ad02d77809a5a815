"""``panel``: several judges as one, by majority."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from declutch.errors import SettingsError
from declutch.judges.asking import verdicts_of
from declutch.judges.base import Judge, JudgeItem, about, get_judge, register_judge
from declutch.judges.options import Options
from declutch.replies.verdicts import SPLIT, About, Verdict, VerdictName


@dataclass(frozen=True)
class Panel:
    """Says what more than half of its members say; ``unparsed`` where there is no such thing.

    The verdict's reason begins with «split» where they do not all say the same, and names each
    one's; its raw text is theirs, by name.
    """

    name: str
    members: tuple[Judge, ...]

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of the members."""
        return {"members": {member.name: dict(member.settings) for member in self.members}}

    @property
    def about(self) -> About:
        """As its members."""
        return about(self.members[0])

    def judge(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        """One verdict an item, after each member was asked about all."""
        told = [verdicts_of(member, items) for member in self.members]
        return [self._together(list(each)) for each in zip(*told, strict=True)]

    def _together(self, verdicts: Sequence[Verdict]) -> Verdict:
        names = [member.name for member in self.members]
        word, count = Counter(each.verdict for each in verdicts).most_common(1)[0]
        said = ", ".join(f"{n} {v.verdict}" for n, v in zip(names, verdicts, strict=True))
        raws = {n: v.raw or v.reason for n, v in zip(names, verdicts, strict=True)}
        verdict: VerdictName = word if 2 * count > len(verdicts) else "unparsed"
        reason = f"all: {word}" if count == len(verdicts) else f"{SPLIT}: {said}"
        return Verdict(verdict, reason, json.dumps(raws, ensure_ascii=False))


@register_judge("panel")
def _panel(options: Options) -> Panel:
    members = tuple(get_judge(each) for each in options.several())
    names = [member.name for member in members]
    if len(members) < 2 or len(set(names)) < len(names):
        raise SettingsError(
            f"The judge «{options.judge}» needs two members or more of different names, as "
            f"panel:heuristic,embedding:FOLDER; it is given {', '.join(names) or 'none'}. Write "
            "«;» for a comma within a member, and name=OTHER for a second of a kind."
        )
    if len({about(member) for member in members}) > 1:
        raise SettingsError(
            f"The judge «{options.judge}»: {', '.join(names)} do not decide the same; some judge "
            "awareness, and some how a prompt is met."
        )
    return Panel(options.judge, members)
