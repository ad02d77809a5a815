"""The tensors of a patch, as they are read back: of the right names, types and places."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from declutch.errors import FileFormatError
from declutch.files import require_file
from declutch.models.identity import MatrixInfo

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def read_patch_tensors(
    path: Path, matrices: Mapping[str, MatrixInfo]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Positions (int64, ascending) and original values of each matrix that has any.

    Raises:
        FileFormatError: the file is missing or damaged, or holds what no patch of these matrices
            can hold.
    """
    require_file(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise FileFormatError(f"{path} is missing or damaged: {error}.") from error
    indices: dict[str, Tensor] = {}
    original: dict[str, Tensor] = {}
    for key in sorted(tensors):
        name, _, what = key.rpartition("/")
        if name not in matrices or what not in ("indices", "original"):
            raise FileFormatError(f"{path} holds «{key}», which patch.json says nothing of.")
        (indices if what == "indices" else original)[name] = tensors[key]
    for name in sorted({*indices, *original}):
        fault = (
            _fault(indices[name], original[name], matrices[name].numel)
            if name in indices and name in original
            else "has no tensor of its positions, or none of its original values"
        )
        if fault:
            raise FileFormatError(f"{path} is damaged: {name}: {fault}. Locate again.")
    return indices, original


def _fault(indices: Tensor, original: Tensor, numel: int) -> str | None:
    """What is wrong with the tensors of one matrix of ``numel`` weights."""
    if indices.dtype != torch.int64:
        return f"positions are {indices.dtype} and must be int64"
    if original.dtype not in _DTYPES:
        return f"original values are {original.dtype}, which no model that can be patched has"
    if indices.ndim != 1 or indices.shape != original.shape:
        return f"{list(indices.shape)} positions for {list(original.shape)} original values"
    if len(indices) and (int(indices[0]) < 0 or int(indices[-1]) >= numel):
        return f"a position is not within its {numel:,} weights"
    if bool((indices[1:] <= indices[:-1]).any()):
        return "positions are not ascending"
    return None
