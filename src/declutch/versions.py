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


def machine() -> dict[str, str]:
    """What a sum of floating-point numbers can depend on: the device, and how it is shared out."""
    import torch

    gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if gpu else platform.machine(),
        "threads": str(torch.get_num_threads()),
    }
