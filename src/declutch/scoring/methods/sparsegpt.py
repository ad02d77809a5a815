"""``sparsegpt``: weights against the inverse of what comes in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from declutch.models.forward import Batch
from declutch.models.matrices import WeightMatrix
from declutch.scoring.method import METHODS, chosen_tokens, needs_linear


@METHODS.register("sparsegpt")
@dataclass(frozen=True)
class SparseGPT:
    """``W² / diag((XᵀX + λI)⁻¹)``: SparseGPT's metric as the Wanda paper writes it.

    Frantar and Alistarh 2023 (arXiv 2301.00774); Sun et al. 2024, section 3. ``λ`` is ``damping``
    times the mean of the diagonal of ``XᵀX``.
    """

    all_tokens: bool = False
    damping: float = 0.01
    name = "sparsegpt"
    needs_gradient = False

    def state_shape(self, matrix: WeightMatrix) -> tuple[int, ...]:
        """``[in, in]``: the sum of ``XᵀX``."""
        return (matrix.shape[1], matrix.shape[1])

    def add(self, state: Tensor, x: Tensor, delta: Tensor, batch: Batch, signs: list[int]) -> None:
        """Add ``XᵀX`` over the chosen tokens."""
        tokens = chosen_tokens(x, batch, self.all_tokens)
        state.addmm_(tokens.T, tokens)

    def add_gradient(self, state: Tensor, gradient: Tensor, sign: int) -> None:
        raise needs_linear(self.name)

    def scores(self, state: Tensor, weight: Tensor, examples: int) -> Tensor:
        """``W² / diag((XᵀX + λI)⁻¹)``; an input that is always zero scores zero."""
        diagonal = state.diagonal()
        dead = diagonal == 0
        # The inverse is taken in float64: XᵀX of a few hundred tokens is far from full rank.
        hessian = state.double()
        hessian.diagonal().add_(max(self.damping * float(diagonal.mean()), 1e-12))
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian)).diagonal()
        scores = weight.float().square().div_(inverse.float())
        return scores.masked_fill_(dead, 0.0)

    def workspace(self, matrix: WeightMatrix) -> int:
        """``XᵀX``, its factor and its inverse in float64, then the scores."""
        return max(24 * matrix.shape[1] ** 2, 8 * matrix.numel)
