"""Optional packages, imported only when something needs them."""

from __future__ import annotations

import importlib
from types import ModuleType

from declutch.errors import MissingExtra


def require(module: str, *, extra: str, why: str) -> ModuleType:
    """Import an optional module, or say which extra of declutch brings it.

    Raises:
        MissingExtra: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtra(
            f"{why[0].upper()}{why[1:]} needs the package «{module.split('.')[0]}», which is not "
            f"installed. Install it with: pip install 'declutch[{extra}]'"
        ) from error
