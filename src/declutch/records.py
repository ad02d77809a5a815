"""Facts that are written as JSON and read back."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from declutch.errors import FileFormatError
from declutch.files import read_json


class Record(BaseModel):
    """A frozen set of named facts; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


R = TypeVar("R", bound=Record)


def read_record(path: Path, kind: type[R], version: int, older: Collection[int] = ()) -> R:
    """Read a record that carries a ``format_version``.

    Args:
        older: versions that differ by lacking what has a default; they are read as this one.

    Raises:
        FileFormatError: the file is missing, damaged, or of another version.
    """
    value = read_json(path)
    if isinstance(value, dict) and value.get("format_version") in older:
        value = {**value, "format_version": version}
    return parse_record(value, path, kind, version)


def parse_record(value: Any, path: Path, kind: type[R], version: int) -> R:
    """:func:`read_record` of what was read already; the path is for the message."""
    found = value.get("format_version") if isinstance(value, dict) else None
    if found != version:
        raise FileFormatError(
            f"{path} has format_version {found!r}; this declutch reads {version}. Make it again, "
            "or use the version of declutch that wrote it."
        )
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise FileFormatError(
            f"{path} is not what declutch writes: {key}: {first['msg']}. Make it again."
        ) from error


def same_json(first: Any, second: Any) -> bool:
    """Equal once written as JSON (tuples are lists there)."""
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


def differences(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    form: str = "{key} was {old} and is now {new}",
    shown: Callable[[Any], str] = repr,
) -> list[str]:
    """One part of a sentence for each key that differs between two sets of facts.

    Args:
        form: with places for the key and both values.
        shown: how a value is written.
    """
    return [
        form.format(key=key, old=shown(old.get(key)), new=shown(new.get(key)))
        for key in sorted({*old, *new})
        if not same_json(old.get(key), new.get(key))
    ]


def differing(
    old: Mapping[str, Any], new: Mapping[str, Any], words: tuple[str, str] = ("there", "now")
) -> list[str]:
    """:func:`differences` as «key is A there and B now», long values shortened."""
    form = f"{{key}} is {{old}} {words[0]} and {{new}} {words[1]}"
    return differences(old, new, form, _short)


def _short(value: Any) -> str:
    if isinstance(value, str) and len(value) > 24:
        return f"{value[:12]}…"
    return "absent" if value is None else str(value)
