"""What a cell says as text, whatever kind of value the file or the caller put there."""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from collections.abc import Mapping
from typing import Any, Final

from declutch.errors import DataError
from declutch.words import joined

_WRITTEN: Final = (
    bool, int, float, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta, uuid.UUID,
)  # fmt: skip
_LONGEST_NAME = 60
_MOST_NAMES = 30


def as_list(cell: object) -> list[Any] | None:
    """A list, a tuple or an array as a list; None for anything else."""
    if isinstance(cell, (list, tuple)):
        return list(cell)
    if getattr(cell, "ndim", 0) and callable(convert := getattr(cell, "tolist", None)):
        return list(convert())
    return None


def text_of(cell: object, place: str) -> str:
    """Text as it is, bytes as the UTF-8 that they are, a number or date as text, nothing as "".

    Raises:
        DataError: it is something else, or text that can't be written as UTF-8; ``place`` names
            the cell.
    """
    if isinstance(cell, (bytes, bytearray, memoryview)):
        try:
            return bytes(cell).decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{place}: bytes that are not UTF-8 where text is needed. Name a column that "
                "holds text."
            ) from error
    if isinstance(cell, str):
        return whole(cell, place)
    if getattr(cell, "ndim", None) == 0 and callable(convert := getattr(cell, "item", None)):
        cell = convert()
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, float) and math.isinf(cell):
        raise DataError(f"{place}: an infinite number where text is needed.")
    if isinstance(cell, _WRITTEN):
        try:
            return str(cell)
        except ValueError as error:  # Python writes no whole number of more than 4,300 digits
            raise DataError(f"{place}: a number of too many digits.") from error
    what = "named values" if isinstance(cell, Mapping) else "a list"
    if what == "a list" and as_list(cell) is None:
        what = f"a value of type {type(cell).__name__}"
    raise DataError(
        f"{place}: {what} where text is needed. Name a column that holds text; a name with a "
        "dot (answer.text) reaches into named values."
    )


def whole(text: str, place: str) -> str:
    """Text as it is.

    Raises:
        DataError: it can't be written as UTF-8.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{place}: the text holds half of a surrogate pair (\\u{ord(text[error.start]):04x}), "
            "which is no character. It was cut or wrongly converted: make the file again."
        ) from error
    return text


def shown(cell: object) -> str:
    """A cell as a condition would write it; blanks at its ends go."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, (bytes, bytearray)):
        return bytes(cell).decode("utf-8", errors="replace").strip()
    try:
        return str(cell).strip()
    except ValueError:
        return f"a number of some {int(cell.bit_length() * 0.30103):,} digits"  # type: ignore[attr-defined]


def said(error: Exception) -> str:
    """What an error of another package says, in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def quoted(names: Any) -> str:
    """Names in a message, in one line: «a», «b» and «c»; only the first of very many."""
    every = [f"«{_printable(name)}»" for name in names]
    if len(every) > _MOST_NAMES:
        every = [*every[:_MOST_NAMES], f"{len(every) - _MOST_NAMES:,} more"]
    return joined(every)


def _printable(name: object) -> str:
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown(name))
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}…"
