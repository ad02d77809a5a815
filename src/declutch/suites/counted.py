"""Suites whose numbers are known, so that another version of their data is noticed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from declutch.errors import DataError
from declutch.suites.base import PromptItem, PromptSet, Suite


@dataclass(frozen=True, slots=True)
class KnownPart:
    """One dimension of a suite: where its prompts are, and how many the paper or package has."""

    where: str
    expected: int


def counted_suite(
    name: str, parts: Mapping[str, KnownPart], items: Mapping[str, Sequence[PromptItem]], whose: str
) -> Suite:
    """A suite of these prompts; where their number is not the known one, its notes say so.

    Raises:
        DataError: a dimension has no prompts at all.
    """
    notes = []
    for dimension, part in parts.items():
        found = len(items[dimension])
        if not found:
            raise DataError(
                f"--suite {name}: there is no {dimension} prompt («{part.where}») in it."
            )
        if found != part.expected:
            notes.append(
                f"{name}: {found:,} {dimension} prompts were found where {whose} "
                f"{part.expected:,}: this is another version of the data, and figures on it can't "
                "be set beside published ones."
            )
    sets = tuple(
        PromptSet(dimension, dimension, "awareness", tuple(items[dimension]), name)
        for dimension in parts
    )
    return Suite(name, sets, notes=tuple(notes))
