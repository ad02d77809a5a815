"""``bundled``: the prompts, pairs and passages that come with declutch."""

from __future__ import annotations

from declutch.data.bundled import bundled_passages, bundled_prompts, load_bundled
from declutch.data.example import Example
from declutch.suites.base import SUITES, Passage, PromptItem, PromptSet, Suite


@SUITES.register("bundled")
def bundled() -> Suite:
    """The prompts, pairs and passages that come with declutch, kept apart from calibration."""
    sets: list[PromptSet] = []
    pairs: dict[str, tuple[Example, ...]] = {}
    for dimension in ("fairness", "privacy"):
        pairs[dimension] = load_bundled(f"eval_{dimension}")
        items = tuple(PromptItem(example.id, example.prompt) for example in pairs[dimension])
        sets.append(PromptSet(dimension, dimension, "awareness", items, "bundled"))
    for dimension in ("fairness", "privacy"):
        name = f"harmless_{dimension}"
        items = tuple(PromptItem(each.id, each.prompt) for each in bundled_prompts(name))
        sets.append(PromptSet(name, dimension, "over_refusal", items, "bundled"))
    passages = tuple(Passage(key, text) for key, text in bundled_passages())
    return Suite("bundled", tuple(sets), pairs, passages)
