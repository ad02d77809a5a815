"""A reply, and what makes replies: the interface of an engine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Finish = Literal["stop", "length"]

_REASONING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_REASONING_END = re.compile(r"^.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_REASONING_CUT = re.compile(r"<think(?:ing)?>.*$", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said.

    Attributes:
        text: as generated, without the end token, reasoning included.
        finish: ``stop`` where the model ended by itself, ``length`` where the limit cut it.
    """

    text: str
    finish: Finish


class ReplyEngine(Protocol):
    """Something that replies to prompts.

    Attributes:
        settings: all that a reply depends on but the model itself and the prompt. Replies on disk
            are used again, and two evaluations compared, only where these are the same.
    """

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def replies(self, prompts: Sequence[str], draw: int = 0) -> Iterator[tuple[int, Reply]]:
        """Yield each prompt's position and reply as they come, in whatever order.

        Args:
            draw: which of several replies to each prompt; each draw has random numbers of its own.
                Only asked for where several are wanted of one prompt.
        """
        ...


def strip_reasoning(text: str) -> str:
    """The reply without its ``<think>`` part: what a judge is shown.

    Reasoning whose beginning stood in the prompt is taken out too; reasoning that was cut off
    leaves an empty reply.
    """
    text = _REASONING.sub("", text)
    text = _REASONING_END.sub("", text)
    return _REASONING_CUT.sub("", text).strip()
