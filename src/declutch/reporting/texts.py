"""Small texts that the page and the card share."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any


def commands(model: str, patch: str) -> dict[str, str]:
    """How to apply a patch to the model, and how to take it back."""
    model, patch = shlex.quote(model), shlex.quote(patch)
    return {
        "Apply it to the model": f"declutch apply {model} {patch} -o PATCHED",
        "Take it back, bit for bit": f"declutch revert PATCHED {patch} -o ORIGINAL",
    }


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted names and texts."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _plain(value)


def _plain(value: Any) -> str:
    """A setting in words; lists of records as «key value, key value; …»."""
    if value is None or value in ({}, [], ()):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        nested = any(isinstance(each, Mapping) for each in value)
        return ("; " if nested else ", ").join(map(_plain, value))
    return str(value)


def date_in_words(iso: str) -> str:
    """«24 November 2025, 19:02 UTC»; what is not a date stays as it is."""
    try:
        when = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{when.day} {when:%B %Y, %H:%M} {when.tzname() or ''}".rstrip()
