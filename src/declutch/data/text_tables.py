"""Tables out of CSV, JSON and JSONL text, with errors that name the line."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from declutch.data.cells import quoted, whole
from declutch.data.table import Table
from declutch.errors import DataError

if TYPE_CHECKING:
    from _csv import Reader as _CsvReader

_DELIMITERS: Final = {",": "commas", ";": "semicolons", "\t": "tabs"}
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def parse_csv(text: str, name: str) -> Table:
    """A table from CSV text with a header; fields may be parted by semicolons or tabs too.

    Raises:
        DataError: it is not valid CSV, or a record has more or fewer fields than the header.
    """
    # A response may be longer than the module's usual limit of 131,072 characters.
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        return _csv_table(text, name, _delimiter(text))
    finally:
        csv.field_size_limit(limit)


def _delimiter(text: str) -> str:
    """The first that parts the header, and the record after it into as many fields."""
    parting = {}
    for delimiter in _DELIMITERS:
        try:
            first = list(islice((len(row) for row in _reader(text, delimiter) if row), 2))
        except csv.Error:
            continue
        if first and first[0] > 1:
            parting[delimiter] = len(set(first)) == 1
    return next((one for one, fits in parting.items() if fits), next(iter(parting), ","))


def _reader(text: str, delimiter: str) -> _CsvReader:
    return csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)


def _csv_table(text: str, name: str, delimiter: str) -> Table:
    records = _csv_records(name, _reader(text, delimiter))
    _, header = next(records, (0, []))
    if not header:
        raise DataError(f"The file {name} is empty.")
    rows = []
    for line, fields in records:
        if len(fields) != len(header):
            raise DataError(
                f"{name}, line {line}: {len(fields)} fields where the header has {len(header)} "
                f"({quoted(header)}), parted by {_DELIMITERS[delimiter]}. Put a field that holds "
                "one of them, or a line break, in double quotes."
            )
        rows.append(dict(zip(header, fields, strict=True)))
    note = "" if delimiter == "," else f"the fields are parted by {_DELIMITERS[delimiter]}"
    return Table(name, tuple(header), rows, len(rows), note)


def _csv_records(name: str, reader: _CsvReader) -> Iterator[tuple[int, list[str]]]:
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
                f"{name}, line {line}: not valid CSV ({what}). Inside a quoted field, write a "
                "double quote twice."
            ) from error
        if fields:
            yield line, fields


def parse_json(text: str, name: str) -> Table:
    """A table from a JSON list of objects, or an object whose one value is such a list.

    Raises:
        DataError: it is something else.
    """
    try:
        value = _value(text, name)
    except DataError as error:
        if getattr(error.__cause__, "msg", "") != "Extra data":
            raise
        raise DataError(
            f"{error} If the file holds one JSON object a line, give its name the ending .jsonl."
        ) from error
    rows = value
    if isinstance(value, dict) and len(value) == 1:
        rows = next(iter(value.values()))
    if not isinstance(rows, list):
        raise DataError(
            f"{name} must hold a list of objects, or an object whose one value is such a list; it "
            f"holds {_kind(value)}."
        )
    half = bool(_HALF.search(text))
    for number, row in enumerate(rows, start=1):
        _check_row(row, f"{name}, row {number}", half)
    return Table.of_rows(name, rows)


def parse_jsonl(text: str, name: str) -> Table:
    """A table from text with one JSON object a line; blank lines are passed over.

    A JSON list under the ending of JSONL is read as the list that it is.

    Raises:
        DataError: a line is not a JSON object.
    """
    if text.lstrip().startswith("["):
        return parse_json(text, name)
    rows = []
    # Only "\n" ends a line: JSON strings may hold the other characters that splitlines() cuts at.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = _value(line, name, number)
        except DataError as error:
            raise DataError(f"{error} Each line must hold one whole JSON object.") from error
        _check_row(row, f"{name}, line {number}", bool(_HALF.search(line)))
        rows.append(row)
    return Table.of_rows(name, rows)


class _TwiceError(ValueError):
    """A key that one object has twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _TwiceError(next(key for key in found if keys.count(key) > 1))
    return found


def _value(text: str, name: str, line: int = 1) -> Any:
    """What JSON text says that begins at a line of a file."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{name}, line {line + error.lineno - 1}, column {error.colno}: not valid JSON "
            f"({error.msg})."
        ) from error
    except _TwiceError as error:
        raise DataError(
            f"{name}, {_from(text, line)}: an object has the key {quoted(error.args)} twice. Keep "
            "one of them."
        ) from error
    except RecursionError as error:
        raise DataError(
            f"{name}, {_from(text, line)}: lists or objects are nested too deep to be read."
        ) from error
    except ValueError as error:  # the one left: Python reads no whole number that long
        long = re.search(rf"\d{{{sys.get_int_max_str_digits() + 1},}}", text)
        line += text.count("\n", 0, long.start()) if long else 0
        raise DataError(f"{name}, line {line}: a number has too many digits to be read.") from error


def _from(text: str, line: int) -> str:
    """The lines of a text of which the JSON parser tells no more."""
    last = line + text.rstrip("\n").count("\n")
    return f"line {line}" if last == line else f"lines {line} to {last}"


def _check_row(row: object, place: str, half: bool) -> None:
    """Refuse what is no object and, where there may be ``half`` a surrogate pair, such a text."""
    if not isinstance(row, dict):
        raise DataError(f"{place}: {_kind(row)} where an object is needed.")
    try:
        whole(json.dumps(row, ensure_ascii=False) if half else "", place)
    except RecursionError as error:
        raise DataError(f"{place}: lists or objects are nested too deep to be read.") from error


def _kind(value: object) -> str:
    """What a JSON value is, in a message."""
    if isinstance(value, dict):
        return f"an object with the keys {quoted(value)}"
    kinds = {list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")
