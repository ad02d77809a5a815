"""The weights that a patch reads and changes: of a model in memory, or in files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from declutch.models.fingerprint import fingerprint
from declutch.models.matrices import WeightMatrix, resolve

State = Literal["original", "patched"]


class Weights(Protocol):
    """What a patch needs of a model. Positions are flat, in a matrix's ``[out, in]`` view."""

    def matrices(self, names: Iterable[str]) -> dict[str, WeightMatrix]:
        """Matrices by name.

        Raises:
            MatrixNotFound: the model does not have one.
        """
        ...

    def read(self, matrix: WeightMatrix, indices: Tensor) -> Tensor:
        """The values at positions, on the CPU, in the dtype in which they are held."""
        ...

    def write(self, matrix: WeightMatrix, indices: Tensor, values: Tensor) -> None:
        """Put values at positions."""
        ...

    def fingerprint(self, changes: Mapping[str, int]) -> str:
        """As of :func:`declutch.models.fingerprint.fingerprint`."""
        ...


class WeightsInMemory:
    """The weights of a model that is loaded."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._parameters = dict(model.named_parameters(remove_duplicate=False))

    def matrices(self, names: Iterable[str]) -> dict[str, WeightMatrix]:
        """Matrices by name."""
        return resolve(self._model, names)

    def read(self, matrix: WeightMatrix, indices: Tensor) -> Tensor:
        """The values at positions."""
        view = self._view(matrix)
        return gather(view, indices.to(view.device)).cpu()

    @torch.no_grad()
    def write(self, matrix: WeightMatrix, indices: Tensor, values: Tensor) -> None:
        """Put values at positions."""
        view = self._view(matrix)
        indices = indices.to(view.device)
        view[indices // view.shape[1], indices % view.shape[1]] = values.to(view.device)

    def fingerprint(self, changes: Mapping[str, int]) -> str:
        """Of the whole model, with changes."""
        return fingerprint(self._model, changes)

    def _view(self, matrix: WeightMatrix) -> Tensor:
        return matrix.view(self._parameters[matrix.parameter].detach())


def weights_of(model: nn.Module | Weights) -> Weights:
    """The weights of a model in memory, or those that were given."""
    return WeightsInMemory(model) if isinstance(model, nn.Module) else model


def gather(weight: Tensor, indices: Tensor) -> Tensor:
    """Values at flat positions of an ``[out, in]`` view, without making it contiguous."""
    return weight.detach()[indices // weight.shape[1], indices % weight.shape[1]].clone()
