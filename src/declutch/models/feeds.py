"""Which rows of a layer's matrices act through which columns of the matrix that they lead to.

Read off the model by its own gradients, so that no layout need be known: fused or not, query, key
and value in blocks or head by head. Each matrix's output is replaced by plain random numbers from
which the graph begins anew; what reaches a matrix's input then is what leads to it directly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from declutch.models.forward import evaluation_mode, input_device
from declutch.models.matrices import WeightMatrix

_TOKENS = 8
Owners = NDArray[np.int64]


@dataclass
class _Seen:
    """The input and the replaced output of each matrix in a pass."""

    inputs: dict[WeightMatrix, Tensor] = field(default_factory=dict)
    outputs: dict[WeightMatrix, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Feeds:
    """A matrix that leads out of a module, its input, and the outputs of those that lead to it."""

    last: WeightMatrix
    x: Tensor
    outputs: Mapping[WeightMatrix, Tensor]

    def reached(self, columns: NDArray[np.bool_]) -> dict[WeightMatrix, NDArray[np.bool_]]:
        """For each matrix before it the rows that act through any of these columns."""
        # Unequal weights: under a norm, equal ones would cancel out.
        weights = torch.linspace(1, 2, len(columns)) * torch.from_numpy(columns)
        gradients = torch.autograd.grad(
            self.x,
            list(self.outputs.values()),
            weights.to(self.x).expand_as(self.x),
            allow_unused=True,
            retain_graph=True,
        )
        return {
            matrix: np.zeros(matrix.shape[0], bool)
            if gradient is None
            else (gradient.reshape(-1, gradient.shape[-1]) != 0).any(dim=0).cpu().numpy()
            for matrix, gradient in zip(self.outputs, gradients, strict=True)
        }

    def owners(self, units: int) -> dict[WeightMatrix, Owners]:
        """For each matrix before it the unit that each row belongs to, −1 where to none or several.

        A unit is one of so many equal runs of columns. Unit numbers are read bit by bit: a row
        belongs to one where it acts, at each bit, through the units that have it or through those
        that have not, never through both.
        """
        number = np.arange(self.last.shape[1]) // (self.last.shape[1] // units)
        owners = {matrix: np.zeros(matrix.shape[0], np.int64) for matrix in self.outputs}
        for bit in range(max(1, (units - 1).bit_length())):
            has = (number >> bit & 1).astype(bool)
            with_bit, without = self.reached(has), self.reached(~has)
            for matrix, found in owners.items():
                found[with_bit[matrix] & (found >= 0)] |= 1 << bit
                found[with_bit[matrix] == without[matrix]] = -1
        return owners

    def whole(self, owners: Mapping[WeightMatrix, Owners], units: int) -> bool:
        """Whether the units are what they seem: some rows belong to each, and to all its columns.

        Those of the first unit must act through its first column as well as through its last.
        """
        for unit in (0, units - 1):
            if not any((found == unit).any() for found in owners.values()):
                return False
        columns = np.arange(self.last.shape[1])
        first, last = (self.reached(columns == one) for one in (0, len(columns) // units - 1))
        return any(
            bool((first[matrix] & last[matrix] & (found == 0)).any())
            for matrix, found in owners.items()
        )


def find_feeds(model: nn.Module, matrices: Iterable[WeightMatrix]) -> list[Feeds]:
    """The matrices that lead out of a module, each with those that lead to it, layer by layer.

    Only matrices that a module of their own applies are seen, and only where a short pass comes
    to them.
    """
    seen = _run(model, [matrix for matrix in matrices if matrix.expert is None])
    layers: dict[int, list[WeightMatrix]] = defaultdict(list)
    for matrix in seen.inputs:
        layers[matrix.layer].append(matrix)
    found = []
    for layer in layers.values():
        before = {matrix: _directly_before(matrix, layer, seen) for matrix in layer}
        leading = {one for matrices in before.values() for one in matrices}
        for matrix, ones in before.items():
            if ones and matrix not in leading:
                outputs = {one: seen.outputs[one] for one in ones}
                found.append(Feeds(matrix, seen.inputs[matrix], outputs))
    return found


def _directly_before(
    matrix: WeightMatrix, layer: list[WeightMatrix], seen: _Seen
) -> list[WeightMatrix]:
    x = seen.inputs[matrix]
    if not x.requires_grad:
        return []
    gradients = torch.autograd.grad(
        x.sum(), [seen.outputs[one] for one in layer], allow_unused=True, retain_graph=True
    )
    return [one for one, gradient in zip(layer, gradients, strict=True) if gradient is not None]


def _run(model: nn.Module, matrices: Iterable[WeightMatrix]) -> _Seen:
    seen = _Seen()
    generator = torch.Generator().manual_seed(0)

    def after(
        matrix: WeightMatrix, _: nn.Module, args: tuple[Any, ...], output: Any
    ) -> Tensor | None:
        widths = [one.shape[-1] for one in (output, *args[:1]) if isinstance(one, Tensor)]
        if widths != list(matrix.shape):
            return None  # no linear map of its first input
        # Positive, so that no activation is at rest, and small, so that no softmax is saturated.
        plain = torch.rand(output.shape, generator=generator) + 0.5
        seen.inputs[matrix] = args[0]
        seen.outputs[matrix] = plain.to(output).requires_grad_()
        return seen.outputs[matrix].clone()  # some models change it in place

    handles = []
    try:
        for matrix in matrices:
            module = model.get_submodule(matrix.module)
            handles.append(module.register_forward_hook(partial(after, matrix)))
        ids = torch.arange(1, 1 + _TOKENS, device=input_device(model))[None]
        with evaluation_mode(model), torch.enable_grad():
            model(input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return seen
