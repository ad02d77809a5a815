"""Prompts are split once: those that edits are searched on, and those that prove the winner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from declutch.comparing.enough import LEAST
from declutch.errors import DataError
from declutch.items import content_hash
from declutch.suites.base import Suite

T = TypeVar("T")
_Sides = tuple[list[T], list[T]]


class Split(NamedTuple):
    """The two parts of a suite; no prompt, pair or passage is in both."""

    tuning: Suite
    proof: Suite

    def counts(self) -> dict[str, tuple[int, int]]:
        """By set, how many items are in either part."""
        found = {}
        for old, new in zip(self.tuning.prompt_sets, self.proof.prompt_sets, strict=True):
            found[f"{old.suite}/{old.name}"] = (len(old.items), len(new.items))
        for name, pairs in self.tuning.pairs.items():
            found[f"pairs of {name}"] = (len(pairs), len(self.proof.pairs[name]))
        found["passages"] = (len(self.tuning.passages), len(self.proof.passages))
        return found


def split_suite(suite: Suite, share: float, seed: int = 0) -> Split:
    """Share out the items of every set, by a hash of what they say.

    The order of a file does not matter, and the same prompt falls on the same side wherever it
    stands in a suite, also as that of a pair.

    Args:
        share: of the items that go to tuning.

    Raises:
        DataError: a set is too small to be shared out.
    """

    known: dict[str, bool] = {}  # whether a text that was met in another set is for tuning

    def sides(items: Sequence[T], content: Callable[[T], object], what: str) -> _Sides[T]:
        hashes = [content_hash(seed, content(item)) for item in items]
        new = sorted({*hashes} - {*known})
        different = len({*hashes})
        cut = round(share * different)
        if items and min(cut, different - cut) < LEAST:
            raise DataError(
                f"{what}: {different} different items are too few to search on some and prove on "
                f"others; at least {LEAST} are needed on either side. Give more, or another "
                "--tuning-share."
            )
        left = max(0, cut - sum(known.get(key, False) for key in {*hashes}))
        known.update((key, place < left) for place, key in enumerate(new))
        found: _Sides[T] = ([], [])
        for item, key in zip(items, hashes, strict=True):
            found[not known[key]].append(item)
        return found

    prompts = [
        sides(each.items, lambda item: item.prompt, f"{each.suite}/{each.name}")
        for each in suite.prompt_sets
    ]
    pairs = {
        dimension: sides(all_pairs, lambda pair: pair.prompt, f"The pairs of {dimension}")
        for dimension, all_pairs in suite.pairs.items()
    }
    passages = sides(suite.passages, lambda passage: passage.text, "The passages")
    parts = [
        replace(
            suite,
            prompt_sets=tuple(
                replace(each, items=tuple(items[side]))
                for each, items in zip(suite.prompt_sets, prompts, strict=True)
            ),
            pairs={dimension: tuple(items[side]) for dimension, items in pairs.items()},
            passages=tuple(passages[side]),
        )
        for side in (0, 1)
    ]
    return Split(*parts)
