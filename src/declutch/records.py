"""Facts that are written as JSON and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from declutch.errors import FileFormatError
from declutch.files import read_json


class Record(BaseModel):
    """A frozen set of named facts; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


R = TypeVar("R", bound=Record)


def read_record(path: Path, kind: type[R], version: int) -> R:
    """Read a record that carries a ``format_version``.

    Raises:
        FileFormatError: the file is missing, damaged, or of another version.
    """
    return parse_record(read_json(path), path, kind, version)


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
