"""What a dimension may be called."""

from __future__ import annotations

from collections.abc import Mapping

from declutch.errors import SettingsError

CONTROL = "control"  # scores keep their random sample of positions under this name
RESERVED = (CONTROL,)
LONGEST_NAME = 64


def check_dimension_name(name: str) -> str:
    """See that a name can stand in file keys, metrics and tables; give it back.

    Raises:
        SettingsError: it can't, or stands for something else already.
    """
    if not isinstance(name, str):
        raise SettingsError(f"A dimension is called by a text, not {name!r:.80}.")
    if name.casefold() in RESERVED:
        raise SettingsError(
            f"A dimension can't be called «{name}»: scores keep their random control under that "
            "name. Give it another."
        )
    if not name.replace("-", "").replace("_", "").isalnum() or len(name) > LONGEST_NAME:
        shown = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"
        raise SettingsError(
            f"A dimension can't be called {shown!r}: a name is 1 to {LONGEST_NAME} letters, "
            "digits, - and _, for example fairness."
        )
    return name


def check_data_by_name(data: object) -> None:
    """See that data come by dimension.

    Raises:
        SettingsError: they don't, or a name can't be one.
    """
    if not isinstance(data, Mapping):
        raise SettingsError(
            "Give data by dimension, as {'fairness': …}, where each is a source or rows; this is a "
            f"{type(data).__name__}."
        )
    for name in data:
        check_dimension_name(name)
