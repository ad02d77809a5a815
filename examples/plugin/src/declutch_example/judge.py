"""A judge: a reply is aware if it holds a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from declutch.judges import JudgeItem, Verdict
from declutch.judges.options import Options


@dataclass(frozen=True)
class Word:
    """Looks for one word; ``settings`` hold all that its verdicts depend on."""

    word: str
    name: str = "word"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Kept verdicts are used again only where these are the same."""
        return {"word": self.word}

    def judge(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        """One verdict an item, in order."""
        return [
            Verdict("aware" if self.word in item.reply.lower() else "unaware", f"«{self.word}»")
            for item in items
        ]


def word(options: Options) -> Word:
    """``word:privacy``: what stands after the colon is the word."""
    return Word(options.needed("word", "TEXT", first=True))
