"""One forward and backward pass, and all that it needs of the model while it runs.

For a plain linear map all that a per-example weight gradient needs is its input ``x`` and the
gradient ``δ`` of its output: ``∂L(s)/∂W = δ_sᵀ x_s``. So during its own call a weight needs no
gradient of autograd. At every other moment it asks for one: where the model uses the weight
outside that call, it stands as a leaf on the graph, and this is seen before anything is summed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from declutch.errors import ModelError
from declutch.models.matrices import WeightMatrix

PairSink = Callable[[WeightMatrix, Tensor, Tensor], None]
GradientSink = Callable[[WeightMatrix, Tensor], None]


class MixedExamples(Exception):
    """A matrix's module saw a tensor in which examples can't be told apart; one a batch can."""


class UsedOutside(Exception):
    """Matrices are used outside their modules' own calls: only autograd has their gradients."""


@dataclass(frozen=True)
class Target:
    """A matrix, its parameter, and the modules whose calls are ``x Wᵀ``; none: autograd's own."""

    matrix: WeightMatrix
    weight: nn.Parameter
    modules: tuple[nn.Module, ...] = ()


def find_targets(model: nn.Module, matrices: Iterable[WeightMatrix]) -> list[Target]:
    """Each matrix with the modules, tied ones too, that use it as a plain linear map."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    users: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        if _plain(module):
            users.setdefault(id(module.weight), []).append(module)
    targets = []
    for matrix in matrices:
        weight = parameters[matrix.parameter]
        modules = users.get(id(weight), []) if matrix.linear else []
        targets.append(Target(matrix, weight, tuple(modules)))
    return targets


def _plain(module: nn.Module) -> bool:
    """Whether a call of the module is a linear map of its first input, by ``module.weight``."""
    if "forward" in vars(module) and not hasattr(module, "_hf_hook"):
        return False  # replaced on this one module; accelerate only wraps it
    conv1d = type(module).__name__ == "Conv1D" and hasattr(module, "nf")
    return conv1d or type(module).forward is nn.Linear.forward


@dataclass
class _Calls:
    """The calls of one matrix in a pass, and the gradients that have come back."""

    pending: int = 0
    inputs: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)


class Pass:
    """A ``with`` block around one pass: hooks, flags and gradients begin and end with it.

    The model's parameters must need no gradient and carry none before, and don't after.

    Args:
        targets: what is wanted.
        shape: ``(examples, length)`` of the batch.
        pair: is called with ``(matrix, x, δ)``, ``x [B, T, in]`` and ``δ [B, T, out]``, as soon as
            the backward pass has the last of them. A weight that is used several times (a module
            called twice, two modules with tied weights) comes once, its calls joined along ``T``:
            the absolute value is of the whole gradient.
        whole: is called with ``(matrix, gradient)`` for targets without a module.
        gradient: whether gradients are wanted. Without, each call's ``x`` comes at once, with an
            empty ``δ``.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        shape: tuple[int, int],
        pair: PairSink,
        whole: GradientSink,
        *,
        gradient: bool = True,
    ) -> None:
        self._targets = targets
        self._shape = shape
        self._pair = pair
        self._whole = whole
        self._gradient = gradient
        self._calls: dict[str, _Calls] = {}
        self._given: set[str] = set()
        self._handles: list[Any] = []

    def __enter__(self) -> Pass:
        owners: dict[int, list[Target]] = {}
        for target in self._targets:
            if self._gradient:
                target.weight.requires_grad_(True)
            for module in target.modules:
                self._handles += self._hooks(module, target)
            if not target.modules:
                owners.setdefault(id(target.weight), []).append(target)
        for experts in owners.values():  # several matrices may lie in one parameter
            self._handles.append(
                experts[0].weight.register_post_accumulate_grad_hook(self._take(experts))
            )
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        for target in self._targets:
            target.weight.requires_grad_(False)
            target.weight.grad = None
        self._calls.clear()

    def backward(self, loss: Tensor) -> None:
        """Run the backward pass and hand on what it gives.

        Raises:
            UsedOutside: before anything is handed on.
            ModelError: a gradient came in several parts, or an input was overwritten.
        """
        if not loss.requires_grad:
            return
        leaves = _leaves(loss)
        if hidden := [t.matrix for t in self._targets if t.modules and id(t.weight) in leaves]:
            raise UsedOutside(*hidden)
        loss.backward()
        for target in self._targets:
            if target.matrix.name in self._calls:  # some outputs the loss did not depend on
                self._finish(target.matrix)
            if target.weight.grad is not None:
                raise _in_parts(target.matrix)

    def _hooks(self, module: nn.Module, target: Target) -> list[Any]:
        matrix, weight = target.matrix, target.weight

        def before(
            _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
            weight.requires_grad_(False)
            x, put = _first(args, kwargs)
            if x.requires_grad or not torch.is_grad_enabled():
                return None
            return put(x.detach().requires_grad_())  # the graph begins here

        def after(
            _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
        ) -> None:
            weight.requires_grad_(self._gradient)
            x = _first(args, kwargs)[0]
            if output.requires_grad or not self._gradient:
                self._called(matrix, x.detach(), output)

        # Next to the call itself: hooks of others change what goes in before, what comes out after.
        return [
            module.register_forward_pre_hook(before, with_kwargs=True),
            module.register_forward_hook(after, with_kwargs=True, prepend=True),
        ]

    def _called(self, matrix: WeightMatrix, x: Tensor, output: Tensor) -> None:
        inputs = self._per_example(matrix, x)
        if not self._gradient:
            self._pair(matrix, inputs, x.new_empty(0))
            return
        version = x._version
        calls = self._calls.setdefault(matrix.name, _Calls())
        calls.pending += 1

        def back(gradient: Tensor) -> None:
            if x._version != version:
                raise ModelError(
                    f"The model overwrites the input of {matrix.name} after it was used, so the "
                    "weight's gradient can't be had. Leave it out with --target-modules."
                )
            calls.pending -= 1
            calls.inputs.append(inputs)
            calls.gradients.append(self._per_example(matrix, gradient.detach()))
            if calls.pending == 0:
                self._finish(matrix)

        output.register_hook(back)

    def _per_example(self, matrix: WeightMatrix, tensor: Tensor) -> Tensor:
        examples, _ = self._shape
        if tensor.ndim == 3 and tensor.shape[:2] == self._shape:
            return tensor
        if examples == 1:
            return tensor.reshape(1, -1, tensor.shape[-1])
        raise MixedExamples(matrix)

    def _finish(self, matrix: WeightMatrix) -> None:
        calls = self._calls.pop(matrix.name)
        if not calls.inputs:
            return
        self._once(matrix)
        x, delta = (
            parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            for parts in (calls.inputs, calls.gradients)
        )
        self._pair(matrix, x, delta)

    def _take(self, targets: Sequence[Target]) -> Callable[[Tensor], None]:
        def take(parameter: Tensor) -> None:
            gradient, parameter.grad = parameter.grad, None  # let go as soon as it is used
            assert gradient is not None
            for target in targets:
                self._once(target.matrix)
                self._whole(target.matrix, target.matrix.view(gradient))

        return take

    def _once(self, matrix: WeightMatrix) -> None:
        if matrix.name in self._given:
            raise _in_parts(matrix)
        self._given.add(matrix.name)


def _first(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, Callable[[Tensor], tuple[tuple[Any, ...], dict[str, Any]]]]:
    """The first input of a call, and how to put another in its place."""
    if args:
        return args[0], lambda x: ((x, *args[1:]), kwargs)
    name = next(iter(kwargs))
    return kwargs[name], lambda x: ((), {**kwargs, name: x})


def _leaves(loss: Tensor) -> set[int]:
    """``id`` of each tensor that a backward pass from ``loss`` would leave a gradient on."""
    found: set[int] = set()
    todo: list[Any] = [loss.grad_fn]
    seen = set(todo)
    while todo:
        node = todo.pop()
        if type(node).__name__ == "AccumulateGrad":  # of torch._C, which has no stubs for it
            found.add(id(node.variable))
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                todo.append(following)
    return found


def _in_parts(matrix: WeightMatrix) -> ModelError:
    return ModelError(
        f"The gradient of {matrix.name} came in several parts, whose absolute values can't be "
        "added: the model builds a part of its graph during the backward pass. Turn gradient "
        "checkpointing off (model.gradient_checkpointing_disable())."
    )
