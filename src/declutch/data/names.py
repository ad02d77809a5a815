"""What a dimension may be called."""

from __future__ import annotations

from collections.abc import Mapping

from declutch.errors import SettingsError

CONTROL = "control"  # scores keep their random sample of positions under this name
CANDIDATES = "candidates"  # and under this one what every dimension scores at all shortlists
RESERVED = (CONTROL, CANDIDATES)
HARMLESS = "harmless"  # harmless prompts, answered against refused: what a rule may watch over
_CONTRAST = ":contrast"
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
            f"A dimension can't be called «{name}»: scores keep something else under that name. "
            "Give it another."
        )
    if not name.replace("-", "").replace("_", "").isalnum() or len(name) > LONGEST_NAME:
        shown = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"
        raise SettingsError(
            f"A dimension can't be called {shown!r}: a name is 1 to {LONGEST_NAME} letters, "
            "digits, - and _, for example fairness."
        )
    return name


def contrast_of(name: str) -> str:
    """What the contrast scores of a dimension are kept under, beside its absolute ones."""
    return name + _CONTRAST


def dimension_of(key: str) -> str:
    """The dimension that scores kept under this name are of."""
    return key.removesuffix(_CONTRAST)


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
