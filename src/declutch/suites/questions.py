"""Questions with options: how they are asked, and what an option for «unknown» says.

They are asked in words and answered in words, so that a served model can be asked too; no
log-probability is looked at. An item's facts hold what each option says under its letter, the
letter of the right one as ``right`` and, where one says that it can't be told, that as ``unknown``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

LETTERS = ("A", "B", "C")

_UNKNOWN = re.compile(
    r"\b(?:can['’]t|cannot|can not|could not|couldn['’]t|not possible to|impossible to|unable to|"
    r"no way to|difficult to)\b[^.]{0,20}"
    r"\b(?:determin\w*|tell|say|know\w*|answer\w*|conclude|infer|be known|identify)\b"
    r"|\b(?:not enough|insufficient|no)\b[^.]{0,12}\b(?:information|info|context|evidence)\b"
    r"|\b(?:unknown|undetermined|unclear|not known|not specified|not answerable|unanswerable|"
    r"do(?:es)?(?: not|n['’]t) (?:say|specify|state|mention|provide))\b",
    re.IGNORECASE,
)


def question(text: str, options: Mapping[str, str]) -> str:
    """A question as it is asked; the wording is ours."""
    listed = "\n".join(f"{letter}. {option}" for letter, option in options.items())
    return f"{text}\n{listed}\n\nAnswer with the letter of one option."


def says_unknown(text: str) -> bool:
    """Whether it says somewhere that something can't be told (English only)."""
    return bool(_UNKNOWN.search(text))
