"""What a dimension may be called."""

from __future__ import annotations

from declutch.errors import SettingsError

CONTROL = "control"  # scores keep their random sample of positions under this name
RESERVED = (CONTROL,)
LONGEST_NAME = 64


def check_dimension_name(name: str) -> str:
    """See that a name can stand in file keys, metrics and tables; give it back.

    Raises:
        SettingsError: it can't, or stands for something else already.
    """
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
