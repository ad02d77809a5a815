"""Catch, for each targeted matrix, its input ``x`` and the gradient ``δ`` of its output.

All that a per-example weight gradient needs is in the two: ``∂L(s)/∂W = δ_sᵀ x_s``. Autograd is
asked for no weight gradient at all. The pairs of one parameter are handed on as soon as the
backward pass has the last of them, and are then let go.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from declutch.models.matrices import WeightMatrix

Sink = Callable[[WeightMatrix, Tensor, Tensor], None]


class MixedExamples(Exception):
    """A module saw a tensor in which examples can't be told apart; one example a batch can."""

    def __init__(self, matrix: WeightMatrix) -> None:
        super().__init__(matrix.name)
        self.matrix = matrix


@dataclass
class _Pairs:
    """The calls of one parameter in one forward pass, and the gradients that have come back."""

    matrix: WeightMatrix
    pending: int = 0
    inputs: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)


class Capture:
    """Hooks on the modules of linear matrices, taken off at the end of a ``with`` block.

    Args:
        model: the model.
        matrices: matrices with ``linear`` set.
        sink: is called with ``(matrix, x, δ)``, ``x [B, T, in]`` and ``δ [B, T, out]``. A
            parameter that is used several times in a pass (a module called twice, two modules
            with tied weights) comes once, its calls joined along ``T``: the absolute value is of
            the whole gradient.
        gradient: whether ``δ`` is wanted. Without it each call's ``x`` comes at once, with an
            empty ``δ``.
    """

    def __init__(
        self,
        model: nn.Module,
        matrices: Sequence[WeightMatrix],
        sink: Sink,
        *,
        gradient: bool = True,
    ) -> None:
        self._sink = sink
        self._gradient = gradient
        self._shape = (0, 0)
        self._open: dict[str, _Pairs] = {}
        self._handles: list[Any] = []
        parameters = dict(model.named_parameters(remove_duplicate=False))
        owners: dict[int, list[nn.Module]] = {}
        for module in model.modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, nn.Parameter):
                owners.setdefault(id(weight), []).append(module)
        for matrix in matrices:
            for module in owners[id(parameters[matrix.parameter])]:
                self._handles.append(module.register_forward_hook(self._hook(matrix)))

    @contextlib.contextmanager
    def batch(self, examples: int, length: int) -> Iterator[None]:
        """Around one forward and backward pass of a batch ``[examples, length]``.

        Raises:
            MixedExamples: only with several examples in the batch.
        """
        self._shape = (examples, length)
        self._open.clear()
        try:
            yield
            for name in list(self._open):  # calls whose output the loss did not depend on
                self._finish(name)
        finally:
            self._open.clear()

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, matrix: WeightMatrix) -> Callable[..., None]:
        def forward(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            x = self._per_example(matrix, args[0].detach())
            if not self._gradient:
                self._sink(matrix, x, x.new_empty(0))
                return
            if not output.requires_grad:
                return
            pairs = self._open.setdefault(matrix.name, _Pairs(matrix))
            pairs.pending += 1

            def backward(gradient: Tensor) -> None:
                pairs.pending -= 1
                pairs.inputs.append(x)
                pairs.gradients.append(self._per_example(matrix, gradient.detach()))
                if pairs.pending == 0:
                    self._finish(matrix.name)

            output.register_hook(backward)

        return forward

    def _per_example(self, matrix: WeightMatrix, tensor: Tensor) -> Tensor:
        examples, length = self._shape
        if tensor.ndim == 3 and tensor.shape[:2] == (examples, length):
            return tensor
        if examples == 1:
            return tensor.reshape(1, -1, tensor.shape[-1])
        raise MixedExamples(matrix)

    def _finish(self, name: str) -> None:
        pairs = self._open.pop(name)
        if not pairs.inputs:
            return
        x, gradient = (
            parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            for parts in (pairs.inputs, pairs.gradients)
        )
        self._sink(pairs.matrix, x, gradient)
