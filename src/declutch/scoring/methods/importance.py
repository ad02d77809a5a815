"""``importance``: the paper's method, and the default."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from declutch.models.forward import Batch
from declutch.models.matrices import WeightMatrix
from declutch.scoring.method import METHODS
from declutch.scoring.products import add_products, add_products_at

_ENTRIES = 1 << 18  # of a matrix, turned into scores at a time


@METHODS.register("importance")
@dataclass(frozen=True)
class Importance:
    """``|W·∇L|``: the first-order change of the loss when a weight is set to zero.

    ``abs`` is the mean over examples of the absolute value (arXiv 2410.16672, eq. of I_W; after
    SNIP, Lee et al. 2019). ``signed`` is the mean of ``W·∇L`` itself: zeroing the weight changes
    the mean loss by minus the score, to first order. An example of sign −1 (a bad response)
    counts against those of sign +1.
    """

    statistic: str = "abs"
    name = "importance"
    needs_gradient = True

    def state_shape(self, matrix: WeightMatrix) -> tuple[int, ...]:
        """``[out, in]``: sums of (absolute) gradients; the weight comes in at the end."""
        return matrix.shape

    def add(self, state: Tensor, x: Tensor, delta: Tensor, batch: Batch, signs: list[int]) -> None:
        """Add ``Σ_s c_s·|δ_sᵀx_s|``: ``|W|`` is the same for every example and comes last."""
        longest = batch.input_ids.shape[1]
        lengths = batch.lengths if x.shape[1] == longest else (x.shape[1],) * len(batch.lengths)
        add_products(state, x, delta, lengths, signs, absolute=self.statistic == "abs")

    def add_at(self, state: Tensor, at: Tensor, x: Tensor, delta: Tensor, signs: list[int]) -> None:
        """Add the same at flat positions ``at``, to a state of their number."""
        add_products_at(state, at, x, delta, signs, absolute=self.statistic == "abs")

    def add_gradient(self, state: Tensor, gradient: Tensor, sign: int) -> None:
        """Add ``c·|g|`` or ``c·g``."""
        state.add_(gradient.abs() if self.statistic == "abs" else gradient, alpha=sign)

    def scores(self, state: Tensor, weight: Tensor, examples: int) -> Tensor:
        """``mean |W·g|`` or ``mean W·g``, in the state's own memory."""
        rows = max(1, _ENTRIES // weight.shape[1])
        for part, factor in zip(state.split(rows), weight.split(rows), strict=True):
            part.mul_(factor.abs() if self.statistic == "abs" else factor)
        return state.div_(examples)

    def workspace(self, matrix: WeightMatrix) -> int:
        """A slice of the matrix."""
        return 4 * _ENTRIES
