"""Rows that the caller has in memory, as the table that a file of them would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeGuard

from declutch.data.cells import as_list, quoted, said, text_of
from declutch.data.example import Example
from declutch.data.sources import Source
from declutch.data.table import Table
from declutch.errors import DataError

Rows: TypeAlias = Any
"""A list of dicts or of examples, a dict of lists, a ``datasets.Dataset``, a table of pyarrow, or
a frame of pandas or polars. None of these packages is imported for it."""

IN_MEMORY: Final = Source.model_construct(path="memory")
"""The source of rows in memory; it can't be read again."""

_NEEDED = (
    "Give a source (a file, hub:OWNER/NAME, bundled:NAME), a list of dicts such as "
    '{"prompt": …, "response": …}, a dict of lists, a list of examples, a datasets.Dataset, or a '
    "data frame."
)


def is_rows(value: object) -> bool:
    """Whether a value is rows, or ought to be: not the name of a source, nor the keys of one."""
    if isinstance(value, Mapping):
        return "path" not in value
    return not isinstance(value, (str, Path, Source))


def table_of_rows(rows: Rows) -> Table:
    """The table of rows in memory.

    Raises:
        DataError: they are of another kind, there are none, or a row is not like the others.
    """
    table = _table(rows, "The data in memory")
    if not table.count:
        raise DataError(f"{table.name} holds no rows.")
    return table


def are_examples(rows: object) -> TypeGuard[Sequence[Example]]:
    """Whether a value is a list of examples, chosen by the caller: they are used as they are."""
    return isinstance(rows, (list, tuple)) and all(isinstance(row, Example) for row in rows)


def checked_examples(examples: Sequence[Example], name: str) -> Sequence[Example]:
    """Examples of the caller's, each of which has a prompt and a response.

    Raises:
        DataError: there are none, or a text is missing or is none.
    """
    if not examples:
        raise DataError(f"{name}: there are no examples.")
    for number, example in enumerate(examples, start=1):
        texts = {"prompt": example.prompt, "response": example.response}
        for field, text in {**texts, "bad_response": example.bad_response or "-"}.items():
            place = f"{name}, example {number}, {field}"
            if not isinstance(text, str):
                raise DataError(
                    f"{place}: a value of type {type(text).__name__} where text is needed."
                )
            if not text_of(text, place).strip():
                raise DataError(f"{place}: empty. Leave such examples out.")
    return examples


def _table(rows: Rows, name: str) -> Table:
    if isinstance(rows, Mapping):
        return _of_columns(rows, name)
    columns = getattr(rows, "column_names", None)
    if columns is not None and hasattr(rows, "with_format") and hasattr(rows, "__len__"):
        from declutch.data.hub import table_of_dataset

        return table_of_dataset(rows, name)
    columns = getattr(rows, "columns", None) if columns is None else columns
    if columns is not None and not isinstance(rows, Sequence):
        return _of_frame(rows, list(columns), name)
    listed = as_list(rows)
    if listed is None:
        raise DataError(f"{name} is of type {type(rows).__name__}, which can't be read. {_NEEDED}")
    return Table.of_rows(name, [_row(row, f"{name}, row {n}") for n, row in enumerate(listed, 1)])


def _of_columns(columns: Mapping[Any, Any], name: str) -> Table:
    lists = {column: as_list(cells) for column, cells in columns.items()}
    if wrong := [column for column, cells in lists.items() if cells is None]:
        raise DataError(
            f"{name} is a {type(columns).__name__} of which {quoted(wrong)} is no list. If its "
            f"values are splits, give one of them. {_NEEDED}"
        )
    if len({len(cells or ()) for cells in lists.values()}) > 1:
        raise DataError(f"{name}: the lists of {quoted(lists)} are not of the same length.")
    rows = [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]
    return Table(name, tuple(lists), rows, len(rows))


def _of_frame(frame: Any, columns: list[Any], name: str) -> Table:
    """The rows of a frame or table."""
    # Before the rows are made: a dict would keep only the last of two columns of one name.
    empty = Table(name, tuple(columns), (), 0)
    try:
        rows = _dicts(frame)
    except Exception as error:  # whatever the package raises over a value that it can't convert
        raise DataError(f"{name} can't be turned into rows: {said(error)}.") from error
    if rows is None:
        raise DataError(f"{name} is of type {type(frame).__name__}, which can't be read. {_NEEDED}")
    return Table(name, empty.columns, rows, len(rows))


def _dicts(frame: Any) -> list[dict[str, Any]] | None:
    """The rows by the one of three methods that the frame has."""
    for method in ("to_pylist", "to_dicts"):
        if hasattr(frame, method):
            return list(getattr(frame, method)())
    if not hasattr(frame, "notna"):
        return None
    # The missing values of pandas are of several kinds, one of which has no truth value.
    return list(frame.astype(object).where(frame.notna(), None).to_dict("records"))


def _row(row: object, place: str) -> Mapping[str, Any]:
    if isinstance(row, Example):
        return {
            "prompt": row.prompt,
            "response": row.response,
            "bad_response": row.bad_response,
            "id": row.id,
            **({"cluster": row.cluster} if row.cluster else {}),
        }
    if not isinstance(row, Mapping):
        raise DataError(
            f"{place}: a value of type {type(row).__name__} where a dict is needed. {_NEEDED}"
        )
    return row
