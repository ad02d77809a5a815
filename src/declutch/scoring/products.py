"""``Σ_s c_s·|δ_sᵀ x_s|`` for one matrix, example by example, tile by tile.

No per-example gradient is ever whole: a tile of it is made, folded into the running sum, and
made anew for the next example, so the sum is read and written from fast memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import torch
from torch import Tensor

# A float32 tile of this many entries (4 MB) stays in the L3 cache of a processor; smaller ones
# cost more in calls and in the narrower product than they save (measured from 2^14 to 2^23).
_CPU_TILE = 1 << 20
# Products of single entries that are alive at a time, on a processor.
_CPU_PART = 1 << 18
# On a GPU without Triton: large enough to fill it, small beside the accumulators.
_GPU_TILE = 1 << 24


def add_products(
    total: Tensor,
    x: Tensor,
    delta: Tensor,
    lengths: Sequence[int],
    coefficients: Sequence[float],
    *,
    absolute: bool,
) -> None:
    """Add ``Σ_s c_s·|δ_sᵀ x_s|`` (or, not absolute, ``Σ_s c_s·δ_sᵀ x_s``) to ``total`` in place.

    Args:
        total: ``[out, in]`` float32.
        x: inputs ``[B, T, in]``.
        delta: output gradients ``[B, T, out]``, zero at padding.
        lengths: tokens of each example that can differ from zero; 0 adds nothing.
        coefficients: ``c_s``, one for each example.
    """
    if total.is_cuda:
        from declutch.scoring import kernels

        if kernels.available(total.device):
            kernels.add_products(total, x, delta, lengths, coefficients, absolute=absolute)
            return
    if not absolute:
        _add_signed(total, x, delta, coefficients)
    else:
        _add_tiles(total, x.float(), delta.float(), lengths, coefficients)


def add_products_at(
    total: Tensor,
    at: Tensor,
    x: Tensor,
    delta: Tensor,
    coefficients: Sequence[float],
    *,
    absolute: bool,
) -> None:
    """What :func:`add_products` adds, at chosen entries alone.

    Args:
        total: ``[n]`` float32.
        at: ``[n]`` flat positions in the ``[out, in]`` view.
    """
    signs = torch.tensor(coefficients, dtype=torch.float32, device=total.device)
    # Transposed, a neuron's tokens lie in a row: so they are gathered several times as fast.
    inputs = x.float().permute(2, 0, 1).contiguous()
    outputs = delta.float().permute(2, 0, 1).contiguous()
    size = max(1, (_GPU_TILE if total.is_cuda else _CPU_PART) // (x.shape[0] * x.shape[1]))
    for part, places in zip(total.split(size), at.split(size), strict=True):
        rows, columns = places // x.shape[2], places % x.shape[2]
        products = outputs.index_select(0, rows).mul_(inputs.index_select(0, columns)).sum(dim=2)
        part.add_((products.abs() if absolute else products) @ signs)


def _add_tiles(
    total: Tensor, x: Tensor, delta: Tensor, lengths: Sequence[int], coefficients: Sequence[float]
) -> None:
    out, inner = total.shape
    tiles = max(1, ceil(total.numel() / (_GPU_TILE if total.is_cuda else _CPU_TILE)))
    rows = ceil(out / tiles)  # tiles of like size: a thin last one would be slow
    buffer = torch.empty(rows, inner, device=total.device)
    for start in range(0, out, rows):
        tile = total[start : start + rows]
        product = buffer[: tile.shape[0]]
        for row, (length, coefficient) in enumerate(zip(lengths, coefficients, strict=True)):
            part = delta[row, :length, start : start + rows]
            torch.mm(part.T, x[row, :length], out=product)
            tile.add_(product.abs_(), alpha=coefficient)


def _add_signed(total: Tensor, x: Tensor, delta: Tensor, coefficients: Sequence[float]) -> None:
    """Without the absolute value the sum over examples is one matrix product."""
    scale = torch.tensor(coefficients, device=delta.device).view(-1, 1, 1)
    weighted = (delta.float() * scale).flatten(0, 1)
    total.addmm_(weighted.T, x.float().flatten(0, 1))
