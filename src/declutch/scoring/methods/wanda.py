"""``wanda``: weights times the size of what comes in."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from declutch.models.forward import Batch
from declutch.models.matrices import WeightMatrix
from declutch.scoring.method import METHODS, chosen_tokens, needs_linear


@METHODS.register("wanda")
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
        state.add_(chosen_tokens(x, batch, self.all_tokens).square().sum(dim=0))

    def add_gradient(self, state: Tensor, gradient: Tensor, sign: int) -> None:
        raise needs_linear(self.name)

    def scores(self, state: Tensor, weight: Tensor, examples: int) -> Tensor:
        """``|W|·‖x‖₂``."""
        return weight.abs().float().mul_(state.sqrt())

    def workspace(self, matrix: WeightMatrix) -> int:
        """The scores, and the weights on their way to float32."""
        return 8 * matrix.numel
