"""What a patch of whole units says of them, and its making from the model itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from declutch.models.matrices import resolve
from declutch.records import Record
from declutch.scoring.shortlists import gather

if TYPE_CHECKING:
    import numpy as np


class ChosenUnit(Record):
    """A neuron of an MLP, an attention head or an expert that a patch suppresses.

    Attributes:
        block: the module that it is a unit of, by its name in the model.
        unit: its number there, from 0.
        weights: how many it has in all of its matrices.
        scores: by dimension the sum of all their scores.
    """

    block: str
    layer: int
    unit: int
    weights: int
    scores: dict[str, float]


def values_of(
    model: nn.Module, selection: Mapping[str, NDArray[np.int64]]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Positions, ascending, and the model's own values there, by matrix.

    Raises:
        MatrixNotFound: the model has no such matrix.
    """
    parameters: dict[str, Any] = dict(model.named_parameters(remove_duplicate=False))
    indices = {name: torch.from_numpy(positions) for name, positions in selection.items()}
    original = {
        name: gather(matrix.view(parameters[matrix.parameter]), indices[name]).cpu()
        for name, matrix in resolve(model, indices).items()
    }
    return indices, original
