"""Conditions on columns, by which a part of a data set is taken.

A condition reads ``column=value`` (the cell is the value) or ``column~=text`` (the cell contains
the text, in whatever letter case); ``!=`` and ``!~=`` turn the two round. ``a|b=value`` asks for
the value in any of the columns, ``column=x|y`` for any of the values, and a dot reaches into a
cell that holds named values (``category.privacy_violation=true``). Several conditions must all
hold.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from declutch.data.cells import as_list, quoted, shown
from declutch.errors import DataError

MISSING: Final = object()
"""What :func:`reach` gives where a row has no such column."""

_VALUES_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, as written and as understood."""

    text: str
    columns: tuple[str, ...]
    values: tuple[str, ...]
    contains: bool = False
    negated: bool = False

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Understand ``column=value``, ``!=``, ``~=`` and ``!~=``.

        Raises:
            DataError: there is no «=», or no column before it.
        """
        column, equals, value = text.partition("=")
        contains = column.endswith("~")
        column = column.removesuffix("~")
        negated = column.endswith("!")
        columns = tuple(name.strip() for name in column.removesuffix("!").split("|"))
        if not equals or not all(columns) or (contains and not value.strip()):
            raise DataError(
                f"The condition «{text}» can't be understood. Write where=COLUMN=VALUE, for "
                "example where=is_safe=true, or where=COLUMN~=TEXT for cells that contain the "
                "text (!= and !~= turn the two round); COLUMN=X|Y takes either value, A|B=VALUE "
                "either column, and a dot reaches into a cell that holds named values."
            )
        parts = [part.strip() for part in value.split("|")]
        if contains:
            values = [part.casefold() for part in parts if part]
        else:
            # The whole comes first, so that a value which holds a «|» can be asked for too.
            values = [value.strip(), *parts]
        return cls(text.strip(), columns, tuple(dict.fromkeys(values)), contains, negated)

    def matches(self, cell: object) -> bool:
        """Whether a cell (of a list: any item) is or contains a value; ``negated`` aside."""
        if (items := as_list(cell)) is not None:
            return any(self.matches(item) for item in items)
        if self.contains:
            text = shown(cell).casefold()
            return any(value in text for value in self.values)
        return any(_equal(cell, value) for value in self.values)


def _equal(cell: object, value: str) -> bool:
    text = shown(cell)
    if text == value or value.lower() in ("true", "false"):
        return text.lower() == value.lower()
    with contextlib.suppress(ValueError):
        number = isinstance(cell, (int, float)) and not isinstance(cell, bool)
        return number and float(value) == cell
    return False


def reach(row: Mapping[str, Any], column: str) -> Any:
    """A row's cell by column name; dots reach into cells that hold named values.

    A name that is there as it stands wins over one with dots. Gives :data:`MISSING` where there
    is no such column.
    """
    if column in row:
        return row[column]
    start = column.find(".")
    while start != -1:
        inner = row.get(column[:start])
        if isinstance(inner, Mapping):
            cell = reach(inner, column[start + 1 :])
            if cell is not MISSING:
                return cell
        start = column.find(".", start + 1)
    return MISSING


def is_reachable(column: str, columns: Iterable[str]) -> bool:
    """Whether a name, or what stands before one of its dots, is among the columns."""
    return any(column == name or column.startswith(f"{name}.") for name in columns)


class RowFilter:
    """Says row by row whether all conditions hold, and at the end what was wrong if none did.

    Raises:
        DataError: a condition names a column that is not there.
    """

    def __init__(self, conditions: Sequence[str], columns: Sequence[str], name: str) -> None:
        self._name = name
        self._conditions = [Condition.parse(text) for text in conditions]
        self._matched = [0] * len(self._conditions)
        self._values: list[dict[str, None]] = [{} for _ in self._conditions]
        self._found: set[str] = set()
        self._rows = 0
        self._inner: dict[str, object] = {}
        for condition in self._conditions:
            for column in condition.columns:
                if not is_reachable(column, columns):
                    raise DataError(
                        f"The condition «{condition.text}» asks for the column «{column}», which "
                        f"{name} does not have. Its columns are {quoted(columns)}."
                    )

    def keep(self, row: Mapping[str, Any]) -> bool:
        """Whether every condition holds for this row."""
        self._rows += 1
        # Every condition is looked at, also after one has failed: the counts are for the message.
        held = [self._holds(number, row) for number in range(len(self._conditions))]
        return all(held)

    def _holds(self, number: int, row: Mapping[str, Any]) -> bool:
        condition = self._conditions[number]
        holds = False
        for column in condition.columns:
            cell = reach(row, column)
            if cell is MISSING:
                self._inner[column] = next(
                    (row[name] for name in row if column.startswith(f"{name}.")), None
                )
                continue
            self._found.add(column)
            holds = holds or condition.matches(cell)
            if len(self._values[number]) <= _VALUES_SHOWN:
                items = as_list(cell)
                for item in [cell] if items is None else items:
                    self._values[number][shown(item)[:60]] = None
        holds = holds != condition.negated
        self._matched[number] += holds
        return holds

    def finish(self, kept: int) -> None:
        """Call after the last row.

        Raises:
            DataError: a dotted name was in no row, or the conditions kept no row.
        """
        if not self._conditions or not self._rows:
            return
        for condition in self._conditions:
            for column in condition.columns:
                if column not in self._found:
                    raise DataError(self._not_found(condition, column))
        if kept:
            return
        counts = "; ".join(
            f"«{condition.text}» holds for {matched:,}"
            for condition, matched in zip(self._conditions, self._matched, strict=True)
        )
        message = f"The conditions keep none of the {self._rows:,} rows of {self._name}: {counts}."
        for condition, matched, values in zip(
            self._conditions, self._matched, self._values, strict=True
        ):
            if not matched:
                message += (
                    f" The column {quoted(condition.columns)} holds"
                    f"{', for example,' if len(values) > _VALUES_SHOWN else ''} "
                    f"{quoted(list(values)[:_VALUES_SHOWN])}."
                )
        raise DataError(message)

    def _not_found(self, condition: Condition, column: str) -> str:
        inner = self._inner.get(column)
        has = (
            f"The names that the last row has there are {quoted(inner)}."
            if isinstance(inner, Mapping)
            else "The cells there hold no named values."
        )
        return (
            f"The condition «{condition.text}» reaches for «{column}», which is in none of the "
            f"{self._rows:,} rows of {self._name}. {has}"
        )
