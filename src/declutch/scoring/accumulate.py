"""Run batches through a model and sum, for each matrix of a group, what a method asks for."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

import torch
from torch import Tensor, nn

from declutch.data.encoding import EncodedExample
from declutch.errors import OutOfMemory
from declutch.models.batches import is_out_of_memory
from declutch.models.forward import collate, evaluation_mode, example_losses, input_device
from declutch.models.matrices import WeightMatrix
from declutch.models.weights import gather
from declutch.scoring.capture import MixedExamples, Pass, UsedOutside, find_targets
from declutch.scoring.method import EntryMethod, Method, needs_linear

log = logging.getLogger("declutch")


class Accumulation:
    """The sums of one group of matrices over one set of examples.

    Args:
        model: its parameters are left as they are; they need no gradient while this runs.
        method: what is summed.
        matrices: the group.
        examples: encoded examples.
        batch_tokens: padded tokens in a batch.
        signs: of each example; a bad response counts as −1.
        only: positions of the examples to sum over; all, if not given.
        at: by matrix the flat positions to sum at, of a method that can; all, if not given.
        scratch: all sums share the memory of the largest: for measuring, not for scoring.

    Attributes:
        states: the float32 sums by matrix.
        order: positions of the examples, longest first.
        position: index of the next example in :attr:`order`.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        matrices: Sequence[WeightMatrix],
        examples: Sequence[EncodedExample],
        batch_tokens: int,
        signs: Sequence[int] | None = None,
        only: Sequence[int] | None = None,
        *,
        at: Mapping[str, Tensor] | None = None,
        scratch: bool = False,
    ) -> None:
        self.model = model
        self.method = method
        self.matrices = matrices
        self.examples = examples
        self.signs = signs or [1] * len(examples)
        self.batch_tokens = batch_tokens
        self.parameters = dict(model.named_parameters(remove_duplicate=False))
        self.at = {
            matrix.name: (at or {})[matrix.name].to(self.parameters[matrix.parameter].device)
            for matrix in (matrices if at else ())
        }
        self.states = self._make_states(scratch)
        self.position = 0
        self.targets = find_targets(model, matrices)
        chosen = range(len(examples)) if only is None else only
        self.order = sorted(chosen, key=lambda index: (-len(examples[index]), index))
        # Modules that are no linear maps give whole gradients, so their examples come one by one.
        whole = [target.matrix for target in self.targets if not target.modules]
        self.one_by_one = bool(whole)
        if whole and not method.needs_gradient:
            raise needs_linear(method.name)
        if whole and not scratch:
            log.info(
                "%d matrices (%s, ...) are no plain linear maps: one example at a time, with "
                "autograd's gradient",
                len(whole), whole[0].parameter,
            )  # fmt: skip

    def _make_states(self, scratch: bool) -> dict[str, Tensor]:
        """One block of memory a device: given back whole, with no holes left between others."""
        places: dict[torch.device, int] = {}
        spans = []
        for matrix in self.matrices:
            device = self.parameters[matrix.parameter].device
            size = prod(self._shape(matrix))
            start = 0 if scratch else places.get(device, 0)
            aligned = -(-(start + size) // 64) * 64
            places[device] = max(places.get(device, 0), aligned)
            spans.append((matrix, device, start, size))
        blocks = {device: torch.zeros(size, device=device) for device, size in places.items()}
        return {
            matrix.name: blocks[device][start : start + size].view(self._shape(matrix))
            for matrix, device, start, size in spans
        }

    def _shape(self, matrix: WeightMatrix) -> tuple[int, ...]:
        at = self.at.get(matrix.name)
        return self.method.state_shape(matrix) if at is None else at.shape

    def run(self, after_batch: Callable[[int], None] = lambda count: None) -> None:
        """Sum over the examples from :attr:`position` on; call ``after_batch`` with each count.

        Raises:
            OutOfMemory: one example alone does not fit.
        """
        with _set_aside(self.model):
            while self.position < len(self.order):
                indices = self._next_batch()
                self._sum_or_split(indices, Counter())
                self.position += len(indices)
                after_batch(len(indices))

    def _next_batch(self) -> list[int]:
        indices = [self.order[self.position]]
        longest = len(self.examples[indices[0]])
        if self.one_by_one:
            return indices
        for index in self.order[self.position + 1 :]:
            if longest * (len(indices) + 1) > self.batch_tokens:
                break
            indices.append(index)
        # As many examples as tokens would hide that a module has the two axes exchanged.
        return indices[:-1] if len(indices) == longest > 1 else indices

    def _sum_or_split(self, indices: list[int], skip: Counter[str]) -> None:
        """Sum over a batch; if that can't be, over its parts, less what is summed already."""
        done = skip.copy()
        try:
            self._step(indices, done)
            return
        except MixedExamples as mixed:
            log.info(
                "%s sees tokens of several examples mixed: one example at a time",
                mixed.args[0].name,
            )
            self.one_by_one = True
            parts = [[index] for index in indices]
        except UsedOutside as used:
            self._leave_to_autograd(used.args)
            parts = [[index] for index in indices]
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            parts = self._halves(indices, error)
        # Outside the except clause: the failed pass and its activations are let go first.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        for part in parts:
            self._sum_or_split(part, done)

    def _leave_to_autograd(self, matrices: Sequence[WeightMatrix]) -> None:
        log.info(
            "%d matrices (%s, ...) are used outside their modules: one example at a time, with "
            "autograd's gradient", len(matrices), matrices[0].parameter,
        )  # fmt: skip
        names = {matrix.name for matrix in matrices}
        self.targets = [
            replace(target, modules=()) if target.matrix.name in names else target
            for target in self.targets
        ]
        self.one_by_one = True

    def _halves(self, indices: list[int], error: BaseException) -> list[list[int]]:
        longest = len(self.examples[indices[0]])
        if len(indices) == 1:
            raise OutOfMemory(
                f"One example of {longest} tokens does not fit into memory beside the sums of "
                f"{len(self.matrices)} matrices. Give a smaller --memory-limit (more passes, "
                "each with fewer sums), lower --max-length, or load the model in half precision."
            ) from error
        half = len(indices) // 2
        self.batch_tokens = min(self.batch_tokens, longest * half)
        log.warning("Out of memory: going on with %d tokens a batch", self.batch_tokens)
        return [indices[:half], indices[half:]]

    def _step(self, indices: list[int], done: Counter[str]) -> None:
        """One forward and backward pass; ``done`` counts what is summed of each matrix.

        Of a gradient it is one sum a pass. Without, it is one for each call of the module.
        """
        batch = collate([self.examples[index] for index in indices], input_device(self.model))
        signs = [self.signs[index] for index in indices]
        seen = Counter[str]()

        def once(matrix: WeightMatrix, add: Callable[[Tensor], None]) -> None:
            seen[matrix.name] += 1
            if seen[matrix.name] > done[matrix.name]:
                add(self.states[matrix.name])
                done[matrix.name] += 1

        def pair(matrix: WeightMatrix, x: Tensor, delta: Tensor) -> None:
            method, at = self.method, self.at.get(matrix.name)
            if at is not None and isinstance(method, EntryMethod):
                once(matrix, lambda state: method.add_at(state, at, x, delta, signs))
            else:
                once(matrix, lambda state: method.add(state, x, delta, batch, signs))

        def whole(matrix: WeightMatrix, gradient: Tensor) -> None:
            at = self.at.get(matrix.name)
            chosen = gradient if at is None else gather(gradient, at)
            once(matrix, lambda state: self.method.add_gradient(state, chosen, signs[0]))

        gradient = self.method.needs_gradient
        examples, length = batch.input_ids.shape
        with (
            Pass(self.targets, (examples, length), pair, whole, gradient=gradient) as one,
            torch.set_grad_enabled(gradient),
        ):
            one.backward(example_losses(self.model, batch).sum())


@contextlib.contextmanager
def _set_aside(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no parameter that needs or carries a gradient; all put back after."""
    before = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    try:
        for parameter, _, _ in before:
            parameter.requires_grad_(False)
            parameter.grad = None
        with evaluation_mode(model):
            yield
    finally:
        for parameter, required, gradient in before:
            parameter.requires_grad_(required)
            parameter.grad = gradient
