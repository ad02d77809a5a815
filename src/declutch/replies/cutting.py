"""The first tokens of a reply: what a model would have said, had it been stopped there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from declutch.errors import SettingsError
from declutch.replies.engine import ReplyEngine

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Cut:
    """Cuts replies after so many tokens.

    A reply is encoded again for it, since only its text is kept. That its first tokens are those
    that were generated is nearly always so, and not certain.
    """

    tokens: int
    tokenizer: PreTrainedTokenizerBase

    def __call__(self, reply: str) -> str:
        """A reply's beginning, or the whole where it is no longer."""
        ids = self.tokenizer.encode(reply, add_special_tokens=False)
        if len(ids) <= self.tokens:
            return reply
        text = self.tokenizer.decode(
            ids[: self.tokens], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        assert isinstance(text, str)
        return text

    def name(self, judge: str) -> str:
        """What the verdicts of a judge on cut replies are kept as."""
        return judge_at(judge, self.tokens)


def judge_at(judge: str, tokens: int) -> str:
    """A judge's name for verdicts on cut replies; no judge may have a ~ in its own."""
    return f"{judge}~{tokens}"


def cuts(engine: ReplyEngine, lengths: Sequence[int]) -> list[Cut]:
    """One for each length, with the tokenizer of the engine.

    Raises:
        SettingsError: it has none.
    """
    encoder = getattr(engine, "encoder", None)
    if not lengths:
        return []
    if encoder is None:
        raise SettingsError(
            "--lengths needs the model's tokenizer, which a server keeps to itself. Leave it out, "
            "or use --engine transformers or vllm."
        )
    return [Cut(tokens, encoder.tokenizer) for tokens in sorted({*lengths})]
