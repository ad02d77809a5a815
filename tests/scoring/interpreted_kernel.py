"""Run the Triton kernel in Triton's interpreter and compare with float64; a program of its own.

``python -m tests.scoring.interpreted_kernel DTYPE`` prints ``{case: worst relative error}`` as
JSON. Triton reads ``TRITON_INTERPRET`` when it is first imported, so this can't run inside a
process that has imported it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from declutch.scoring import kernels


@dataclass(frozen=True)
class Case:
    """Sizes of one product: ``x [B, longest, inner]``, ``δ [B, longest, out]``."""

    lengths: tuple[int, ...]
    out: int
    inner: int
    coefficients: tuple[float, ...] = ()
    layout: str = "plain"
    absolute: bool = True


CASES = {
    "tiles that fit exactly": Case((16, 16), 32, 32),
    "odd shapes, several tiles": Case((21, 9, 1), 37, 50),
    "more bands of tiles than one": Case((7, 5), 97, 33),
    "smaller than a tile": Case((3, 2), 5, 3),
    "one row, one column": Case((4,), 1, 1),
    "one token": Case((1,), 20, 40),
    "empty examples": Case((0, 18, 0), 33, 20),
    "nothing but empty examples": Case((0, 0), 8, 8),
    "signs": Case((9, 17, 5), 20, 20, (1.0, -1.0, -2.5)),
    "signed": Case((9, 17, 5), 40, 20, (1.0, -1.0, 0.5), absolute=False),
    "strides between tokens": Case((9, 17), 20, 36, layout="sliced"),
    "last axis not contiguous": Case((9, 17), 20, 36, layout="transposed"),
    "examples joined by broadcasting": Case((6, 6), 20, 36, layout="expanded"),
}


def lay_out(tensor: Tensor, layout: str) -> Tensor:
    """The same values in another memory layout (for ``expanded``, the first example's)."""
    if layout == "sliced":
        wide = torch.full((*tensor.shape[:2], tensor.shape[2] + 5), torch.nan, dtype=tensor.dtype)
        wide[..., 3:-2] = tensor
        return wide[..., 3:-2]
    if layout == "transposed":
        return tensor.transpose(1, 2).contiguous().transpose(1, 2)
    if layout == "expanded":
        return tensor[:1].expand_as(tensor)
    return tensor


def make_inputs(case: Case, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """``total``, ``x`` and ``δ``. Rows past an example's length hold no zeros, as in no batch."""
    generator = torch.Generator().manual_seed(len(case.lengths) + case.out)
    shape = (len(case.lengths), max(1, *case.lengths))
    x = torch.randn(*shape, case.inner, generator=generator).to(dtype)
    delta = torch.randn(*shape, case.out, generator=generator).to(dtype)
    total = torch.randn(case.out, case.inner, generator=generator)
    return total, lay_out(x, case.layout), lay_out(delta, case.layout)


def expected(case: Case, total: Tensor, x: Tensor, delta: Tensor) -> Tensor:
    """The sum in float64."""
    total = total.double()
    for row, length in enumerate(case.lengths):
        product = delta[row, :length].double().T @ x[row, :length].double()
        factor = case.coefficients[row] if case.coefficients else 1.0
        total = total + factor * (product.abs() if case.absolute else product)
    return total


def worst_error(case: Case, dtype: torch.dtype) -> float:
    """The largest error of an entry, relative to the largest entry."""
    total, x, delta = make_inputs(case, dtype)
    reference = expected(case, total, x, delta)
    coefficients = case.coefficients or (1.0,) * len(case.lengths)
    kernels.add_products(total, x, delta, case.lengths, coefficients, absolute=case.absolute)
    return float((total.double() - reference).abs().max() / reference.abs().max())


if __name__ == "__main__":
    torch.set_num_threads(1)
    dtype = getattr(torch, sys.argv[1])
    print(json.dumps({name: worst_error(case, dtype) for name, case in CASES.items()}))
