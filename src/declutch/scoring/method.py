"""What is summed for each weight matrix, and how the sum becomes a score.

A method is one class; the engine knows only the :class:`Method` protocol.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from declutch.errors import SettingsError
from declutch.models.forward import Batch
from declutch.models.matrices import WeightMatrix
from declutch.registry import Registry

STATISTICS = ("abs", "signed")


@runtime_checkable
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


@runtime_checkable
class EntryMethod(Method, Protocol):
    """A method that works entry by entry, so that chosen neurons can be scored alone.

    ``add_gradient`` and ``scores`` then get one row: the chosen entries.
    """

    def add_at(self, state: Tensor, at: Tensor, x: Tensor, delta: Tensor, signs: list[int]) -> None:
        """Add a batch to a state ``[n]``: what :meth:`add` adds at flat positions ``at [n]``."""


# What makes a method. It is given those of the options ``statistic`` and ``all_tokens`` that its
# parameters name; the others can't be asked of it.
METHODS: Registry[Callable[..., Method]] = Registry(
    "method", "declutch.scoring.methods", "--method"
)


def get_method(name: str, statistic: str = "abs", all_tokens: bool = False) -> Method:
    """The scoring method of that name.

    Args:
        statistic: ``abs`` or ``signed``, of methods that take the mean over examples.
        all_tokens: inputs at every token, not at the response's alone; of methods that read them.

    Raises:
        SettingsError: the method or the statistic is unknown, or they don't go together.
    """
    make = METHODS.get(name)
    if statistic not in STATISTICS:
        raise SettingsError(
            f"--statistic «{statistic}» is unknown; give one of {', '.join(STATISTICS)}."
        )
    taken = inspect.signature(make).parameters
    if statistic != "abs" and "statistic" not in taken:
        raise SettingsError(f"--statistic {statistic} does not go with --method {name}.")
    if all_tokens and "all_tokens" not in taken:
        raise SettingsError(
            f"--all-tokens does not go with --method {name}: the loss is taken on response tokens."
        )
    options = {"statistic": statistic, "all_tokens": all_tokens}
    fitting = {key: value for key, value in options.items() if key in taken}
    method: Method = METHODS.call(name, make, Method, **fitting)
    return method


def check_scores(method: Method, values: object, weight: Tensor) -> None:
    """See that there is a score for each weight; a method may be another's.

    Raises:
        SettingsError: there is not.
    """
    if not isinstance(values, Tensor):
        found: object = f"{values!r:.100}"
    elif values.shape != weight.shape or values.dtype != torch.float32:
        found = f"{list(values.shape)} in {str(values.dtype).removeprefix('torch.')}"
    else:
        return
    raise SettingsError(
        f"--method {method.name} gives scores {found}, where {list(weight.shape)} in float32 are "
        "needed."
    )


def chosen_tokens(x: Tensor, batch: Batch, all_tokens: bool) -> Tensor:
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
