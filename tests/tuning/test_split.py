"""Prompts to search on, and prompts to prove by."""

from __future__ import annotations

import pytest

from declutch.errors import DataError
from declutch.suites.base import PromptItem, PromptSet, Suite
from declutch.suites.loading import load_suites
from declutch.tuning.split import split_suite


def prompts(suite: Suite) -> set[str]:
    return {item.prompt for each in suite.prompt_sets for item in each.items}


def test_nothing_is_on_both_sides_and_nothing_is_lost() -> None:
    suite = load_suites(["bundled"])
    split = split_suite(suite, 0.5)
    assert prompts(split.tuning).isdisjoint(prompts(split.proof))
    assert prompts(split.tuning) | prompts(split.proof) == prompts(suite)
    for pairs in split.tuning.pairs.values():
        assert {pair.prompt for pair in pairs}.isdisjoint(prompts(split.proof))
    for name, (tuning, proof) in split.counts().items():
        assert abs(tuning - proof) <= 1, name
    assert {*split.tuning.passages}.isdisjoint(split.proof.passages)


def test_the_order_does_not_matter_and_the_seed_does() -> None:
    items = tuple(PromptItem(str(n), f"Prompt {n}?") for n in range(40))
    sides = [
        prompts(
            split_suite(
                Suite("s", (PromptSet("a", "a", "awareness", order, "s"),)), 0.3, seed
            ).tuning
        )
        for order, seed in ((items, 0), (items[::-1], 0), (items, 1))
    ]
    assert sides[0] == sides[1] != sides[2]
    assert len(sides[0]) == 12


def test_the_same_text_is_on_one_side() -> None:
    items = tuple(PromptItem(str(n), f"Prompt {n % 20}?") for n in range(40))
    more = tuple(PromptItem(f"more-{n}", f"Another {n}?") for n in range(40))
    sets = tuple(
        PromptSet(name, name, "awareness", chosen, "s")
        for name, chosen in (("a", items), ("b", items + more), ("c", more))
    )
    split = split_suite(Suite("s", sets), 0.5)
    assert prompts(split.tuning).isdisjoint(prompts(split.proof))


def test_too_few_are_refused() -> None:
    items = tuple(PromptItem(str(n), f"Prompt {n}?") for n in range(11))
    with pytest.raises(DataError, match="s/a: 11 different items are too few"):
        split_suite(Suite("s", (PromptSet("a", "a", "awareness", items, "s"),)), 0.5)
