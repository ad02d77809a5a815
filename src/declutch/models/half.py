"""Reading in bfloat16 where that is much faster: for choices, never for what is proven."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from declutch.models.forward import input_device


@contextlib.contextmanager
def half_where_fast(model: Any) -> Iterator[None]:
    """Matrix products of a float32 model in bfloat16 where this machine has units for them."""
    device = input_device(model).type
    with torch.autocast(device, torch.bfloat16, enabled=_fast(model, device)):
        yield


def _fast(model: Any, device: str) -> bool:
    if next(model.parameters()).dtype != torch.float32:
        return False
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())
