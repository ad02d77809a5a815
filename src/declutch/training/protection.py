"""Weights that no training moves: a patch's, held at their value or at zero.

Of a weight that is trained itself the gradient is zeroed, and its bits are written back after each
step of the optimizer: weight decay and momentum have no say. Where a matrix has an adapter, what
the adapter makes of a protected weight is taken out of each forward pass, and the weight's bits are
written into the merged matrix.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from declutch.errors import SettingsError
from declutch.models.matrices import WeightMatrix, resolve
from declutch.patching import Patch


@dataclass(frozen=True)
class Place:
    """The protected weights of a matrix: entries ``[rows, columns]`` of its ``[out, in]`` view."""

    matrix: WeightMatrix
    parameter: nn.Parameter
    rows: Tensor
    columns: Tensor
    values: Tensor

    @property
    def view(self) -> Tensor:
        """The matrix as ``[out, in]``, without a gradient."""
        return self.matrix.view(self.parameter.detach())

    @torch.no_grad()
    def write(self) -> None:
        """Put the values there, bit for bit."""
        self.view[self.rows, self.columns] = self.values

    def without_gradient(self, gradient: Tensor) -> Tensor:
        """A gradient of the parameter with zeros there."""
        gradient = gradient.clone()
        self.matrix.view(gradient)[self.rows, self.columns] = 0
        return gradient


@dataclass(frozen=True)
class Protection:
    """The protected weights of a model.

    Attributes:
        indices, values: by matrix, flat positions in its ``[out, in]`` view and what stands there.
    """

    indices: dict[str, Tensor]
    values: dict[str, Tensor]

    @classmethod
    def of(cls, patch: Patch, model: nn.Module, value: str) -> Protection:
        """The weights of a patch, at what they are in the model (``keep``) or at ``zero``.

        Raises:
            PatchMismatch: the patch is of another model.
        """
        state = patch.verify(model)
        dtype = next(model.parameters()).dtype
        values = {name: patch.values(name, state, dtype) for name in patch.indices}
        if value == "zero":
            values = {name: torch.zeros_like(one) for name, one in values.items()}
        return cls(dict(patch.indices), values)

    def places(self, model: nn.Module) -> list[Place]:
        """Where they are in a model that carries no adapter."""
        parameters = dict(model.named_parameters(remove_duplicate=False))
        found = []
        for name, matrix in resolve(model, self.indices).items():
            parameter = parameters[matrix.parameter]
            at = self.indices[name].to(parameter.device)
            values = self.values[name].to(parameter.device, parameter.dtype)
            width = matrix.shape[1]
            found.append(Place(matrix, parameter, at // width, at % width, values))
        return found

    @property
    def expected(self) -> dict[str, tuple[Tensor, Tensor]]:
        """As :func:`declutch.models.saving.save_checkpoint` reads it back."""
        return {name: (at, self.values[name]) for name, at in self.indices.items()}

    def write(self, model: nn.Module) -> None:
        """Put them where they belong, bit for bit."""
        for place in self.places(model):
            place.write()


class Held(TrainerCallback):
    """Keeps places as they are while Trainer trains."""

    def __init__(self, places: list[Place]) -> None:
        self.places = places

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After the optimizer has moved all that it has."""
        for place in self.places:
            place.write()


@contextlib.contextmanager
def held(places: list[Place], trained: nn.Module) -> Iterator[list[TrainerCallback]]:
    """Hold places inside a ``with`` block, by hooks and by what is yielded for Trainer.

    Args:
        trained: the model of the places, perhaps with an adapter on it now.

    Raises:
        SettingsError: an adapter has a dropout.
    """
    layers = {
        id(parameter): module
        for module in trained.modules()
        if hasattr(module, "lora_A") and isinstance(module.base_layer, nn.Module)
        for parameter in module.base_layer.parameters()
    }
    own = [place for place in places if place.parameter.requires_grad]
    with contextlib.ExitStack() as hooks:
        for place in own:
            hooks.callback(place.parameter.register_hook(place.without_gradient).remove)
        for place in places:
            if layer := layers.get(id(place.parameter)):
                _refuse_dropout(layer)
                hooks.callback(layer.register_forward_hook(_without_adapter(place)).remove)
        yield [Held(own)]


def _refuse_dropout(layer: Any) -> None:
    if any(getattr(one, "p", 0) for one in layer.lora_dropout.values()):
        raise SettingsError(
            "--dropout of an adapter does not go with protected weights: the adapter sees other "
            "inputs than the weights then, so that what it makes of one weight can't be taken out. "
            "Leave --dropout out, or use --method full."
        )


def _without_adapter(place: Place) -> Callable[[Any, Any, Tensor], Tensor]:
    """A hook that gives a layer's output as if its adapter left a place alone."""

    def hook(layer: Any, args: Any, output: Tensor) -> Tensor:
        (name,) = layer.active_adapters
        down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
        scaling = layer.scaling[name]
        made = place.values + scaling * (up[place.rows] * down[:, place.columns].T).sum(1)
        if name in layer.lora_magnitude_vector:  # DoRA: the norm counts as a constant
            rows = place.view[place.rows] + scaling * (up[place.rows] @ down).detach()
            made = made * layer.lora_magnitude_vector[name].weight[place.rows] / rows.norm(dim=1)
        change = args[0][..., place.columns] * (place.values - made).to(args[0].dtype)
        return output.index_add(-1, place.rows, change.to(output.dtype))

    return hook
