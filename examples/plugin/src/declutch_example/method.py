"""A scoring method: the size of a weight alone, which knows nothing of the data."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from declutch.models.forward import Batch
from declutch.models.matrices import WeightMatrix


@dataclass(frozen=True)
class Magnitude:
    """``|W|``: what a method must beat to be worth its forward passes."""

    name = "magnitude"
    needs_gradient = False

    def state_shape(self, matrix: WeightMatrix) -> tuple[int, ...]:
        """Nothing is summed; one number, since there must be a sum."""
        return (1,)

    def add(self, state: Tensor, x: Tensor, delta: Tensor, batch: Batch, signs: list[int]) -> None:
        """The inputs do not matter."""

    def add_gradient(self, state: Tensor, gradient: Tensor, sign: int) -> None:
        """Nor do gradients."""

    def scores(self, state: Tensor, weight: Tensor, examples: int) -> Tensor:
        """``|W|`` in float32."""
        return weight.abs().float()

    def workspace(self, matrix: WeightMatrix) -> int:
        """The scores, in bytes."""
        return 4 * matrix.numel
