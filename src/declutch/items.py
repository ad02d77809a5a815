"""Rows of what was measured, one an item: ids by content, no item twice, numbers JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, PlainSerializer, ValidationError

from declutch.errors import FileFormatError
from declutch.files import read_jsonl, sha256_json
from declutch.records import Record

_NAMED = 5


def finite(value: float) -> float | None:
    """The number, or None where JSON has none for it (NaN, infinite)."""
    return value if math.isfinite(value) else None


# JSON has no NaN and no infinity: None stands for both in a file, and is read as NaN.
Number = Annotated[
    float,
    BeforeValidator(lambda value: math.nan if value is None else value),
    PlainSerializer(finite, return_type=float | None),
]


class Item(Record):
    """What was measured of one item; a measure adds fields of its own.

    Attributes:
        set: which part of the measure it belongs to: a dimension, a task, a set of texts.
        id: unique within the set; holds a hash of the item's content (:func:`item_id`).
        cluster: what it shares with others, which are not independent of it; empty for nothing.
    """

    set: str
    id: str
    cluster: str = ""


I = TypeVar("I", bound=Item)  # noqa: E741 (as in «Item»)


def read_items(path: Path, kind: type[I], *, drop_torn_tail: bool = False) -> list[I]:
    """Read a file of items.

    Raises:
        FileFormatError: it is missing or damaged, or two rows are of the same item.
    """
    items = []
    for number, row in enumerate(read_jsonl(path, drop_torn_tail=drop_torn_tail), start=1):
        try:
            items.append(kind.model_validate(row))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "the whole"
            raise FileFormatError(
                f"{path}, row {number}: not what declutch writes ({key}: {first['msg']}). Delete "
                "the file and evaluate again."
            ) from error
    refuse_doubled(path, ((item.set, item.id) for item in items))
    return items


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


def not_finite(ids: Sequence[str], values: Sequence[float]) -> str:
    """«; not a finite number for 2 of 9: a, b», or nothing."""
    found = [key for key, value in zip(ids, values, strict=True) if not math.isfinite(value)]
    if not found:
        return ""
    return f"; not a finite number for {len(found)} of {len(ids)}: {named(found)}"


def named(ids: Sequence[str]) -> str:
    """The first few, and a sign where there are more."""
    return ", ".join([*ids[:_NAMED], *(["…"] if len(ids) > _NAMED else [])])
