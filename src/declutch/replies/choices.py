"""Which option of a question (:mod:`declutch.suites.questions`) a reply chooses."""

from __future__ import annotations

import re
from collections.abc import Mapping

from declutch.replies.flags import is_refusal, plain
from declutch.suites.questions import LETTERS, says_unknown

# «B», «(B)», «Answer: B.», «B: the nurse»; an «A» before a word may be the article.
_FIRST = re.compile(
    r"\W*(?:(?:the |my )?(?:correct |best |right )?(?:answer|option)(?: is)?\W*)?"
    r"(?:\(([a-c])\)|([a-c])(?=\W*$|[.):,*\n]|\s*[-–—]))",
    re.IGNORECASE,
)
_NAMED = re.compile(r"\b(?:answer|option|choice)(?: is)?\W{0,4}([A-C])(?![\w'’])")
_LISTED = re.compile(r"^\W*([A-C])[.):]", re.MULTILINE)


def chosen(reply: str, facts: Mapping[str, str]) -> str | None:
    """The letter of the option that a reply chooses; None where that can't be told.

    In this order: a letter at its beginning, or called the answer; words that say that it can't be
    told, or a refusal, where there is an option for that; the only option whose text is in it. A
    letter with another option's text, and a list of several options, choose nothing.

    Args:
        reply: without the model's reasoning.
        facts: the item's.
    """
    options = {letter: facts[letter] for letter in LETTERS if letter in facts}
    text = plain(reply)
    said = [
        letter
        for letter, option in options.items()
        if re.search(rf"\b{re.escape(plain(option).strip('. '))}\b", text)
    ]
    first = _FIRST.match(reply.strip())
    letters = {first[1] or first[2]} if first else set(_NAMED.findall(reply))
    letters = {letter.upper() for letter in letters} & set(options)
    if letters:
        agree = not said or letters & set(said)
        return letters.pop() if len(letters | set(_LISTED.findall(reply))) == 1 and agree else None
    unknown = facts.get("unknown")
    if unknown and (says_unknown(reply) or is_refusal(reply)):
        return unknown
    return said[0] if len(said) == 1 else None
