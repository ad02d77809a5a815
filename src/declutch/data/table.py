"""The table: what every reader gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from declutch.data.cells import quoted, said, text_of
from declutch.errors import DataError


@dataclass(frozen=True, slots=True)
class Table:
    """Rows and their columns; the rows may be read only once. Row numbers count from 1.

    Raises:
        DataError: a column's name is not text, or there twice.
    """

    name: str
    columns: tuple[str, ...]
    rows: Iterable[Mapping[str, Any]]
    count: int
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse columns that can't be told apart or named."""
        for column in self.columns:
            if not isinstance(column, str):
                raise DataError(f"{self.name}: the column {column!r} needs a name that is text.")
            text_of(column, f"{self.name}, the name of the column {quoted([column])}")
        twice = {name for name, count in Counter(self.columns).items() if name and count > 1}
        if twice:
            raise DataError(
                f"{self.name}: the column {quoted(sorted(twice))} is there more than once. Give "
                "each column a name of its own."
            )

    @classmethod
    def of_rows(cls, name: str, rows: list[Any]) -> Table:
        """A table of objects that need not all have the same columns."""
        columns: dict[str, None] = {}
        for row in rows:
            columns.update(dict.fromkeys(row))
        return cls(name, tuple(columns), rows, len(rows))


def rows_of(
    batches: Iterator[Any], rows: Callable[[Any], Iterable[Mapping[str, Any]]], failure: str
) -> Iterator[Mapping[str, Any]]:
    """The rows of batches that another package reads.

    Args:
        failure: what to say where that fails, whatever it raises; ``{said}`` is what it says.
    """
    while True:
        try:
            found = rows(next(batches))
        except StopIteration:
            return
        except Exception as error:
            raise DataError(failure.replace("{said}", said(error))) from error
        yield from found
