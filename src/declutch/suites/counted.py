"""Suites whose numbers are known, so that another version of their data is noticed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from declutch.comparing.results import PromptKind
from declutch.data.filters import RowFilter
from declutch.data.loading import read_table
from declutch.data.sources import Source
from declutch.errors import DataError
from declutch.suites.base import PromptItem, PromptSet, Suite


@dataclass(frozen=True, slots=True)
class Group:
    """One set of a suite's prompts.

    Attributes:
        types: the types of prompt in it; without any, all that are in no other group.
        expected: how many the published data has, where that is known.
    """

    dimension: str
    types: tuple[str, ...] = ()
    expected: int | None = None
    kind: PromptKind = "awareness"

    @property
    def name(self) -> str:
        """What its set is called."""
        return f"harmless_{self.dimension}" if self.kind == "over_refusal" else self.dimension


@dataclass(frozen=True, slots=True)
class SuiteRows:
    """A suite's data.

    Attributes:
        columns: the names of those that were asked for.
        rows: with their numbers, from 1.
        part: whether conditions of the user's left rows out.
    """

    columns: Sequence[str]
    rows: Sequence[tuple[int, Mapping[str, Any]]]
    part: bool


def read_rows(name: str, where: str, hub: str, columns: Sequence[str]) -> SuiteRows:
    """Read a suite's data from the hub, or from a source of the user's in place of it.

    Args:
        where: such a source (:class:`declutch.data.sources.Source`), or nothing.
        columns: those that it must have; ``a|b`` is either.

    Raises:
        DataError: it can't be read, or lacks a column.
        MissingExtra: ``datasets`` is not installed.
    """
    source = Source.parse(where or hub)
    table = read_table(source)
    found = [[each for each in one.split("|") if each in table.columns] for one in columns]
    if missing := [one for one, there in zip(columns, found, strict=True) if not there]:
        raise DataError(
            f"--suite {name}: {table.name} has no column {' and no column '.join(missing)}. Its "
            f"columns: {', '.join(table.columns)}."
        )
    kept = RowFilter(source.where, table.columns, table.name)
    rows = [(number, row) for number, row in enumerate(table.rows, start=1) if kept.keep(row)]
    kept.finish(len(rows))
    return SuiteRows([there[0] for there in found], rows, bool(source.where))


def suite_of_types(
    name: str,
    where: str,
    hub: str,
    columns: tuple[str, str],
    groups: Sequence[Group],
    whose: str,
    total: int | None = None,
) -> Suite:
    """A suite of a table's prompts, in groups by their type.

    Args:
        where, hub: see :func:`read_rows`.
        columns: of the prompt and of its type.
        whose: who says how many there are, as «the paper names».
        total: how many the published data has in all, where every row is to be in a group.

    Raises:
        DataError: see :func:`read_rows`; or a group has no prompt though all rows are taken.
        MissingExtra: ``datasets`` is not installed.
    """
    found = read_rows(name, where, hub, columns)
    prompt_column, type_column = found.columns
    by_type = {kind.casefold(): group for group in groups for kind in group.types}
    rest = next((group for group in groups if not group.types), None)
    items: dict[str, list[PromptItem]] = {group.name: [] for group in groups}
    unknown: dict[str, None] = {}
    for number, row in found.rows:
        prompt, kind = row.get(prompt_column), str(row.get(type_column)).strip()
        group = by_type.get(kind.casefold(), rest)
        if group is None:
            unknown[kind] = None
        elif isinstance(prompt, str) and prompt.strip():
            facts = {} if len(group.types) == 1 else {"type": kind}
            items[group.name].append(PromptItem(f"row-{number}", prompt, facts))
    suite = counted_suite(name, groups, items, whose, total, part=found.part)
    if total is None or not unknown:
        return suite
    note = f"{name}: prompts of types not known here are left out: {', '.join(unknown)}."
    return replace(suite, notes=(*suite.notes, note))


def counted_suite(
    name: str,
    groups: Sequence[Group],
    items: Mapping[str, Sequence[PromptItem]],
    whose: str,
    total: int | None = None,
    *,
    part: bool = False,
) -> Suite:
    """A suite of these prompts; where their number is not the known one, its notes say so.

    Args:
        items: by the name of their group.
        part: whether only a part was asked for, so that groups may be empty.

    Raises:
        DataError: a group has no prompts at all.
    """
    notes = []
    whole = sum(map(len, items.values()))
    if part:
        notes.append(f"{name}: {whole:,} of its prompts, by the conditions given with it.")
    for group in () if part else groups:
        found = len(items[group.name])
        if not found:
            types = f" («{'», «'.join(group.types)}»)" if group.types else ""
            raise DataError(f"--suite {name}: there is no {group.name} prompt{types} in it.")
        if group.expected is not None:
            notes += count_note(name, f"{group.name} prompts", found, group.expected, whose)
    if total is not None and not part:
        notes += count_note(name, "prompts", whole, total, whose)
    sets = tuple(
        PromptSet(group.name, group.dimension, group.kind, tuple(items[group.name]), name)
        for group in groups
        if items[group.name]
    )
    if not sets:
        raise DataError(f"--suite {name}: no prompt is left.")
    return Suite(name, sets, notes=tuple(notes))


def count_note(name: str, what: str, found: int, expected: int, whose: str) -> list[str]:
    """What a reader must know where a number is another than the published one; or nothing."""
    if found == expected:
        return []
    return [
        f"{name}: {found:,} {what} were found where {whose} {expected:,}: this is another version "
        "of the data, and figures on it can't be set beside published ones."
    ]
