"""What reaches a terminal: text as it is, never an instruction to the terminal.

Names, prompts and replies come from files of anybody's. Control characters in them could rewrite
what was printed before, and marks of writing direction reorder it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

# C0 and C1 controls other than tab and line feed, surrogates, and what turns the direction.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str) -> str:
    """The text with such characters written as escapes (``\\x1b``)."""
    return _HIDDEN.sub(lambda match: repr(match[0])[1:-1], text)


def json_visible(text: str) -> str:
    """A JSON text with such characters written as JSON's escapes (``\\u001b``)."""
    return _HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class Terminal(Console):
    """A console that takes square brackets in a path for square brackets."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render, and drop what a terminal would obey: it has no width, so nothing moves."""
        for segment in super().render(renderable, options):
            if segment.control or not _HIDDEN.search(segment.text):
                yield segment
            else:
                yield Segment(_HIDDEN.sub("", segment.text), segment.style)
