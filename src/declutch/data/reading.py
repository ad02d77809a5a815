"""Reading rows out of files, with errors that name the file and the line."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from declutch.data.filters import quoted
from declutch.errors import DataError
from declutch.extras import require
from declutch.files import is_file

if TYPE_CHECKING:
    from _csv import Reader as _CsvReader

_BATCH_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Table:
    """Rows and their columns; the rows may be read only once. Row numbers count from 1."""

    name: str
    columns: tuple[str, ...]
    rows: Iterable[Mapping[str, Any]]
    count: int
    note: str = ""

    @classmethod
    def of_rows(cls, name: str, rows: list[Any]) -> Table:
        """A table of objects that need not all have the same columns."""
        columns: dict[str, None] = {}
        for row in rows:
            columns.update(dict.fromkeys(row))
        return cls(name, tuple(columns), rows, len(rows))


def read_file(path: str) -> Table:
    """Read a file by its ending.

    Raises:
        DataError: it is missing, damaged, not UTF-8, or has no rows.
        MissingExtra: pyarrow is needed and not installed.
    """
    file = Path(path).expanduser()
    if not is_file(file):
        what = "is a folder, not a file" if os.path.isdir(file) else "does not exist"
        if os.path.exists(file) and not os.path.isdir(file):
            what = "is a pipe or a device, not a file"
        where = "" if file.is_absolute() else f" (looked for in {Path.cwd()})"
        raise DataError(f"The data file {path} {what}{where}.")
    try:
        table = _READERS[file.suffix.lower()](file)
    except OSError as error:
        raise DataError(
            f"The data file {path} can't be read: {error.strerror or error}."
        ) from error
    if not table.count:
        raise DataError(f"The data file {path} holds no rows.")
    return table


def _read_text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: the byte 0x{data[error.start]:02x} is not UTF-8. Save the file "
            "as UTF-8."
        ) from error


def _read_csv(path: Path) -> Table:
    text = _read_text(path)
    # A response may be longer than the module's usual limit of 131,072 characters.
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        return _csv_table(path, csv.reader(io.StringIO(text, newline=""), strict=True))
    finally:
        csv.field_size_limit(limit)


def _csv_table(path: Path, reader: _CsvReader) -> Table:
    records = _csv_records(path, reader)
    _, header = next(records, (0, []))
    if not header:
        raise DataError(f"The data file {path} is empty.")
    twice = {name for name in header if name and header.count(name) > 1}
    if twice:
        raise DataError(
            f"{path}, line 1: the column {quoted(sorted(twice))} is there more than once. Give "
            "each column a name of its own."
        )
    rows = []
    for line, fields in records:
        if len(fields) != len(header):
            raise DataError(
                f"{path}, line {line}: {len(fields)} fields where the header has {len(header)} "
                f"({quoted(header)}). Put a field that holds a comma or a line break in double "
                "quotes."
            )
        rows.append(dict(zip(header, fields, strict=True)))
    return Table(str(path), tuple(header), rows, len(rows))


def _csv_records(path: Path, reader: _CsvReader) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with the line it begins on."""
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what = (
                "a double quote is opened here and never closed"
                if "unexpected end" in str(error)
                else str(error)
            )
            raise DataError(
                f"{path}, line {line}: not valid CSV ({what}). Inside a quoted field, write a "
                "double quote twice."
            ) from error
        if fields:
            yield line, fields


def _read_json(path: Path) -> Table:
    text = _read_text(path)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        hint = ""
        if error.msg == "Extra data":
            hint = " If the file holds one JSON object a line, give its name the ending .jsonl."
        raise DataError(
            f"{path}, line {error.lineno}, column {error.colno}: not valid JSON ({error.msg})."
            f"{hint}"
        ) from error
    rows = value
    if isinstance(value, dict) and len(value) == 1:
        rows = next(iter(value.values()))
    if not isinstance(rows, list):
        raise DataError(
            f"{path} must hold a list of objects, or an object whose one value is such a list; it "
            f"holds {_kind(value)}."
        )
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: {_kind(row)} where an object is needed.")
    return Table.of_rows(str(path), rows)


def parse_jsonl(text: str, name: str) -> Table:
    """A table from text with one JSON object a line; blank lines are passed over.

    Raises:
        DataError: a line is not a JSON object.
    """
    rows = []
    # Only "\n" ends a line: JSON strings may hold the other characters that splitlines() cuts at.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{name}, line {number}, column {error.colno}: not valid JSON ({error.msg}). Each "
                "line must hold one whole JSON object."
            ) from error
        if not isinstance(row, dict):
            raise DataError(f"{name}, line {number}: {_kind(row)} where an object is needed.")
        rows.append(row)
    return Table.of_rows(name, rows)


def _read_jsonl(path: Path) -> Table:
    return parse_jsonl(_read_text(path), str(path))


def _read_parquet(path: Path) -> Table:
    parquet = require("pyarrow.parquet", extra="data", why="reading a Parquet file")
    try:
        file = parquet.ParquetFile(path)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is not a whole Parquet file: {error}") from error
    return Table(
        str(path),
        tuple(file.schema_arrow.names),
        _parquet_rows(path, file),
        file.metadata.num_rows,
    )


def _parquet_rows(path: Path, file: Any) -> Iterator[Mapping[str, Any]]:
    try:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            yield from batch.to_pylist()
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is damaged: {error}") from error


def _kind(value: object) -> str:
    """What a JSON value is, in a message."""
    kinds: list[tuple[type | tuple[type, ...], str]] = [
        (dict, f"an object with the keys {quoted(value)}" if isinstance(value, dict) else ""),
        (list, "a list"),
        (str, "text"),
        (bool, "true or false"),
        ((int, float), "a number"),
    ]
    return next((text for kind, text in kinds if isinstance(value, kind)), "null")


_READERS: Final[Mapping[str, Callable[[Path], Table]]] = {
    ".csv": _read_csv,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
