"""Which software made a file."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("declutch", "torch", "transformers", "safetensors", "tokenizers", "numpy", "scipy")


def versions(*more: str) -> dict[str, str]:
    """Versions of Python and of the packages that a result can depend on; of others beside them."""
    found = {"python": platform.python_version()}
    for package in (*_PACKAGES, *more):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
