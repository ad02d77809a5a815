"""Run batches through a model and sum, for each matrix of a group, what a method asks for."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from declutch.data.encoding import EncodedExample
from declutch.errors import OutOfMemory
from declutch.models.forward import collate, example_losses, input_device
from declutch.models.matrices import WeightMatrix, decoder_blocks
from declutch.scoring.capture import Capture, MixedExamples
from declutch.scoring.method import Method, needs_linear

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
        scratch: bool = False,
    ) -> None:
        self.model = model
        self.method = method
        self.matrices = matrices
        self.examples = examples
        self.signs = signs or [1] * len(examples)
        self.batch_tokens = batch_tokens
        self.parameters = dict(model.named_parameters(remove_duplicate=False))
        self.states = self._make_states(scratch)
        self.position = 0
        self._seen = Counter[str]()
        chosen = range(len(examples)) if only is None else only
        self.order = sorted(chosen, key=lambda index: (-len(examples[index]), index))
        # Modules that are no linear maps give whole gradients, so their examples come one by one.
        self.linear = [matrix for matrix in matrices if matrix.linear]
        self.whole: dict[str, list[WeightMatrix]] = {}
        for matrix in matrices:
            if not matrix.linear:
                self.whole.setdefault(matrix.parameter, []).append(matrix)
        self.one_by_one = bool(self.whole)
        if self.whole and not method.needs_gradient:
            raise needs_linear(method.name)
        if self.whole and not scratch:
            log.info(
                "%d matrices (%s, ...) are no plain linear maps: one example at a time, with "
                "autograd's gradient",
                len(matrices) - len(self.linear), next(iter(self.whole)),
            )  # fmt: skip

    def _make_states(self, scratch: bool) -> dict[str, Tensor]:
        """One block of memory a device: given back whole, with no holes left between others."""
        places: dict[torch.device, int] = {}
        spans = []
        for matrix in self.matrices:
            device = self.parameters[matrix.parameter].device
            size = prod(self.method.state_shape(matrix))
            start = 0 if scratch else places.get(device, 0)
            aligned = -(-(start + size) // 64) * 64
            places[device] = max(places.get(device, 0), aligned)
            spans.append((matrix, device, start, size))
        blocks = {device: torch.zeros(size, device=device) for device, size in places.items()}
        return {
            matrix.name: blocks[device][start : start + size].view(self.method.state_shape(matrix))
            for matrix, device, start, size in spans
        }

    def run(self, after_batch: Callable[[int], None] = lambda count: None) -> None:
        """Sum over the examples from :attr:`position` on; call ``after_batch`` with each count.

        Raises:
            OutOfMemory: one example alone does not fit.
        """
        with _frozen(self.model, set(self.whole)), self._graph_begins_late():
            while self.position < len(self.order):
                indices = self._next_batch()
                first = self.position == 0
                self._sum_or_split(indices, Counter())
                if first and self.method.needs_gradient:
                    self._look_for_hidden_use(indices)
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
        return indices

    def _sum_or_split(self, indices: list[int], skip: Counter[str]) -> None:
        """Sum over a batch; if that can't be, over its parts, less what is summed already."""
        done = skip.copy()
        try:
            self._step(indices, done)
            return
        except MixedExamples as mixed:
            log.info(
                "%s sees tokens of several examples mixed: one example at a time",
                mixed.matrix.name,
            )
            self.one_by_one = True
            parts = [[index] for index in indices]
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            parts = self._halves(indices, error)
        # Outside the except clause: the failed pass and its activations are let go first.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        for part in parts:
            self._sum_or_split(part, done)

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
        seen = self._seen = Counter[str]()

        def sink(matrix: WeightMatrix, x: Tensor, delta: Tensor) -> None:
            seen[matrix.name] += 1
            if seen[matrix.name] > done[matrix.name]:
                self.method.add(self.states[matrix.name], x, delta, batch, signs)
                done[matrix.name] += 1

        gradient = self.method.needs_gradient
        with (
            Capture(self.model, self.linear, sink, gradient=gradient) as capture,
            capture.batch(*batch.input_ids.shape),
            self._whole_gradients(signs[0]),
            torch.set_grad_enabled(gradient),
        ):
            loss = example_losses(self.model, batch).sum()
            if gradient:
                loss.backward()

    def _look_for_hidden_use(self, indices: list[int]) -> None:
        """Find weights that the model uses outside their module's own call, where hooks are blind.

        Nothing came from their modules; if autograd has a gradient for them all the same, they
        are summed by that, this batch included.
        """
        quiet = [matrix for matrix in self.linear if not self._seen[matrix.name]]
        if not quiet:
            return
        weights = [self.parameters[matrix.parameter].requires_grad_() for matrix in quiet]
        batch = collate([self.examples[indices[0]]], input_device(self.model))
        loss = example_losses(self.model, batch).sum()
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        hidden: dict[str, list[WeightMatrix]] = {}
        for matrix, weight, gradient in zip(quiet, weights, gradients, strict=True):
            weight.requires_grad_(gradient is not None)
            if gradient is not None:
                hidden[matrix.parameter] = [matrix]
                self.linear.remove(matrix)
        if not hidden:
            return
        log.info(
            "%d matrices (%s, ...) are used outside their modules: one example at a time, with "
            "autograd's gradient", len(hidden), next(iter(hidden)),
        )  # fmt: skip
        self.one_by_one = True
        before, self.whole = self.whole, hidden
        for index in indices:
            self._step([index], Counter(matrix.name for matrix in self.linear))
        self.whole = {**before, **hidden}

    @contextlib.contextmanager
    def _whole_gradients(self, sign: int) -> Iterator[None]:
        """Add autograd's own gradients as each is ready, and let it go at once."""

        def take(name: str) -> Callable[[Tensor], None]:
            def add(parameter: Tensor) -> None:
                assert parameter.grad is not None
                for matrix in self.whole[name]:
                    view = matrix.view(parameter.grad)
                    self.method.add_gradient(self.states[matrix.name], view, sign)
                parameter.grad = None

            return add

        handles = [
            self.parameters[name].register_post_accumulate_grad_hook(take(name))
            for name in (self.whole if self.method.needs_gradient else ())
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextlib.contextmanager
    def _graph_begins_late(self) -> Iterator[None]:
        """Begin the autograd graph at the input of the lowest block that holds a target."""
        if not self.method.needs_gradient:
            yield
            return
        lowest = min(matrix.layer for matrix in self.matrices)
        _, block = decoder_blocks(self.model)[lowest]

        def start_here(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, Any]:
            if args:
                return (args[0].detach().requires_grad_(), *args[1:]), kwargs
            hidden = kwargs["hidden_states"].detach().requires_grad_()
            return args, {**kwargs, "hidden_states": hidden}

        handle = block.register_forward_pre_hook(start_here, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()


@contextlib.contextmanager
def _frozen(model: nn.Module, trainable: set[str]) -> Iterator[None]:
    """Evaluation mode, and weight gradients of nothing but ``trainable``; all put back after."""
    training = model.training
    before = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    model.eval()
    try:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in trainable)
            if name in trainable:
                parameter.grad = None
        yield
    finally:
        for parameter, required, gradient in before:
            parameter.requires_grad_(required)
            parameter.grad = gradient
        model.train(training)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on any device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return "can't allocate memory" in str(error) or "out of memory" in str(error).lower()
