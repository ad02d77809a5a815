"""What every file of items has in common: ids by content, no item twice, numbers JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from declutch.errors import FileFormatError
from declutch.files import sha256_json

_NAMED = 5


def item_id(name: str, *content: object) -> str:
    """A name that holds a hash of the item's content, so that only like is paired with like.

    Args:
        content: all that the item is measured on, as JSON values.
    """
    return f"{name}-{content_hash(*content)}"


def content_hash(*content: object) -> str:
    """Twelve hex digits of the SHA-256 of an item's content."""
    return sha256_json(content)[:12]


def refuse_doubled(path: Path, keys: Iterable[object]) -> None:
    """See that no two rows of a file are about the same item.

    Raises:
        FileFormatError: two are; it names their rows.
    """
    first: dict[object, int] = {}
    for number, key in enumerate(keys, start=1):
        if key in first:
            shown = "/".join(key) if isinstance(key, tuple) else key
            raise FileFormatError(
                f"{path}: rows {first[key]} and {number} are both of the item {shown}. The file "
                "was changed or joined by hand; delete it and evaluate again."
            )
        first[key] = number


def finite(value: float) -> float | None:
    """The number, or None where JSON has none for it (NaN, infinite)."""
    return value if math.isfinite(value) else None


def number(value: float | None) -> float:
    """What :func:`finite` wrote, read back: NaN for None."""
    return math.nan if value is None else float(value)


def not_finite(ids: Sequence[str], values: Sequence[float]) -> str:
    """«; not a finite number for 2 of 9: a, b», or nothing."""
    found = [key for key, value in zip(ids, values, strict=True) if not math.isfinite(value)]
    if not found:
        return ""
    return f"; not a finite number for {len(found)} of {len(ids)}: {named(found)}"


def named(ids: Sequence[str]) -> str:
    """The first few, and a sign where there are more."""
    return ", ".join([*ids[:_NAMED], *(["…"] if len(ids) > _NAMED else [])])
