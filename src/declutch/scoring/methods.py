"""What is summed for each weight matrix, and how the sum becomes a score.

A method is one class; the engine knows only the :class:`Method` protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from declutch.errors import SettingsError
from declutch.models.forward import Batch
from declutch.models.matrices import WeightMatrix
from declutch.scoring.products import add_products

STATISTICS = ("abs", "signed")
_ENTRIES = 1 << 18  # of a matrix, turned into scores at a time


class Method(Protocol):
    """Scores the neurons of a matrix from what passes through it."""

    name: str
    needs_gradient: bool

    def state_shape(self, matrix: WeightMatrix) -> tuple[int, ...]:
        """Shape of the float32 sum that is kept for a matrix."""

    def add(self, state: Tensor, x: Tensor, delta: Tensor, batch: Batch, signs: list[int]) -> None:
        """Add a batch: ``x [B, T, in]``, ``δ [B, T, out]`` (empty where none is needed)."""

    def add_gradient(self, state: Tensor, gradient: Tensor, sign: int) -> None:
        """Add one example's whole gradient ``[out, in]``, where a module is no linear map."""

    def scores(self, state: Tensor, weight: Tensor, examples: int) -> Tensor:
        """The scores ``[out, in]`` in float32; may reuse the state's memory."""

    def workspace(self, matrix: WeightMatrix) -> int:
        """Bytes that :meth:`scores` takes for a moment, beside the state."""


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


@dataclass(frozen=True)
class Wanda:
    """``|W|·‖x‖₂`` (Sun et al. 2024, arXiv 2306.11695, eq. 1), over response tokens by default."""

    all_tokens: bool = False
    name = "wanda"
    needs_gradient = False

    def state_shape(self, matrix: WeightMatrix) -> tuple[int, ...]:
        """``[in]``: sums of squared inputs."""
        return (matrix.shape[1],)

    def add(self, state: Tensor, x: Tensor, delta: Tensor, batch: Batch, signs: list[int]) -> None:
        """Add ``Σ x²`` over the chosen tokens."""
        state.add_(_chosen_tokens(x, batch, self.all_tokens).square().sum(dim=0))

    def add_gradient(self, state: Tensor, gradient: Tensor, sign: int) -> None:
        raise needs_linear(self.name)

    def scores(self, state: Tensor, weight: Tensor, examples: int) -> Tensor:
        """``|W|·‖x‖₂``."""
        return weight.abs().float().mul_(state.sqrt())

    def workspace(self, matrix: WeightMatrix) -> int:
        """The scores, and the weights on their way to float32."""
        return 8 * matrix.numel


@dataclass(frozen=True)
class SparseGPT:
    """``W² / diag((XᵀX + λI)⁻¹)``: SparseGPT's metric as the Wanda paper writes it.

    Frantar and Alistarh 2023 (arXiv 2301.00774); Sun et al. 2024, section 3. ``λ`` is ``damping``
    times the mean of the diagonal of ``XᵀX``.
    """

    damping: float = 0.01
    all_tokens: bool = False
    name = "sparsegpt"
    needs_gradient = False

    def state_shape(self, matrix: WeightMatrix) -> tuple[int, ...]:
        """``[in, in]``: the sum of ``XᵀX``."""
        return (matrix.shape[1], matrix.shape[1])

    def add(self, state: Tensor, x: Tensor, delta: Tensor, batch: Batch, signs: list[int]) -> None:
        """Add ``XᵀX`` over the chosen tokens."""
        tokens = _chosen_tokens(x, batch, self.all_tokens)
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


def _chosen_tokens(x: Tensor, batch: Batch, all_tokens: bool) -> Tensor:
    """Inputs at the response tokens, or at every token that is no padding, ``[N, in]`` float32."""
    examples, length = batch.input_ids.shape
    if x.shape[1] % length:
        raise SettingsError(
            "A module of the target sees only some tokens (an expert that a router chooses), and "
            "this method needs to know which. Use --method importance, or narrow --target-modules."
        )
    x = x.view(examples, -1, length, x.shape[-1])  # a module called twice has its calls in a row
    if all_tokens:
        mask = torch.zeros(examples, length, dtype=torch.bool, device=x.device)
        for row, tokens in enumerate(batch.lengths):
            mask[row, :tokens] = True
        return x.transpose(1, 2)[mask].flatten(0, 1).float()
    rows, columns = batch.rows.to(x.device), batch.columns.to(x.device) + 1
    return x[rows, :, columns].flatten(0, 1).float()


def needs_linear(name: str) -> SettingsError:
    """The error for a method that reads a module's inputs and was given no linear map."""
    return SettingsError(
        f"--method {name} is defined for plain linear maps alone, and the target covers others "
        "(experts stacked in one parameter, routers). Use --method importance, or narrow "
        "--target-modules."
    )


METHODS: dict[str, Callable[[str, bool], Method]] = {
    "importance": lambda statistic, _: Importance(statistic),
    "wanda": lambda _, all_tokens: Wanda(all_tokens),
    "sparsegpt": lambda _, all_tokens: SparseGPT(all_tokens=all_tokens),
}


def get_method(name: str, statistic: str = "abs", all_tokens: bool = False) -> Method:
    """The scoring method of that name.

    Args:
        statistic: ``abs`` or ``signed``, of ``importance``.
        all_tokens: inputs at every token, not at the response's alone; of the two others.

    Raises:
        SettingsError: the method or the statistic is unknown, or they don't go together.
    """
    if name not in METHODS:
        raise SettingsError(f"--method «{name}» is unknown; give one of {', '.join(METHODS)}.")
    if statistic not in STATISTICS:
        raise SettingsError(
            f"--statistic «{statistic}» is unknown; give one of {', '.join(STATISTICS)}."
        )
    if statistic != "abs" and name != "importance":
        raise SettingsError(f"--statistic {statistic} goes with --method importance alone.")
    if all_tokens and name == "importance":
        raise SettingsError(
            "--all-tokens goes with --method wanda and sparsegpt; importance is of the loss, which "
            "is taken on response tokens."
        )
    return METHODS[name](statistic, all_tokens)
