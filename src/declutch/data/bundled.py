"""The data sets that come with declutch (see docs/data-card.md)."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any, Final

from declutch.data.example import Example
from declutch.errors import DataError

PAIRS: Final = ("fairness", "privacy", "general", "harmless", "eval_fairness", "eval_privacy")
"""Sets of prompts with a response each; all but ``general`` carry a bad response too."""

HARMLESS: Final = ("harmless_fairness", "harmless_privacy")
"""Sets of prompts that look like the others and that a good model answers."""

PASSAGES: Final = "passages"
"""General text, for perplexity."""


def bundled_rows(name: str) -> list[dict[str, Any]]:
    """The rows of a bundled set, with all their fields.

    Raises:
        DataError: there is no such set.
    """
    names = (*PAIRS, *HARMLESS, PASSAGES)
    if name not in names:
        raise DataError(
            f"There is no bundled data set «{name}». The bundled sets are: {', '.join(names)}."
        )
    file = resources.files("declutch.data").joinpath("sets", f"{name}.jsonl")
    return [json.loads(line) for line in file.read_text("utf-8").split("\n") if line.strip()]


def load_bundled(name: str) -> tuple[Example, ...]:
    """The examples of a bundled set of pairs, all of them, in their order.

    Raises:
        DataError: there is no such set, or it has no responses.
    """
    if name in (*HARMLESS, PASSAGES):
        call = "bundled_passages()" if name == PASSAGES else f"bundled_prompts({name!r})"
        raise DataError(f"The bundled set «{name}» has no responses. Read it with {call}.")
    return bundled_prompts(name)


@cache
def bundled_prompts(name: str) -> tuple[Example, ...]:
    """The prompts of any bundled set but the passages; a response is empty where there is none.

    Raises:
        DataError: there is no such set, or it holds no prompts.
    """
    if name == PASSAGES:
        raise DataError("The bundled set «passages» has no prompts: use bundled_passages().")
    return tuple(
        Example(row["prompt"], row.get("response", ""), row["id"], row.get("bad_response"))
        for row in bundled_rows(name)
    )


def bundled_passages() -> list[tuple[str, str]]:
    """The bundled passages, as pairs of id and text."""
    return [(row["id"], row["text"]) for row in bundled_rows(PASSAGES)]
