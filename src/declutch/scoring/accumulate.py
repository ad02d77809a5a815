"""Run batches through a model and sum, for each matrix of a group, what a method asks for."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from declutch.data.batching import length_batches
from declutch.data.encoding import EncodedExample
from declutch.errors import OutOfMemory
from declutch.models.forward import collate, example_losses, input_device
from declutch.models.matrices import WeightMatrix, decoder_blocks
from declutch.scoring.capture import Capture, MixedExamples
from declutch.scoring.methods import Method

log = logging.getLogger("declutch")


class Accumulation:
    """The sums of one group of matrices over one set of examples.

    Args:
        model: its parameters are left as they are; they need no gradient while this runs.
        method: what is summed.
        matrices: the group.
        examples: encoded examples.
        batch_tokens: padded tokens in a batch.

    Attributes:
        states: the float32 sums by matrix.
        position: index of the next example in :attr:`order`: where an interrupted run goes on.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        matrices: Sequence[WeightMatrix],
        examples: Sequence[EncodedExample],
        batch_tokens: int,
        signs: Sequence[int] | None = None,
    ) -> None:
        self.model = model
        self.method = method
        self.matrices = matrices
        self.examples = examples
        self.signs = signs or [1] * len(examples)
        self.batch_tokens = batch_tokens
        self.parameters = dict(model.named_parameters(remove_duplicate=False))
        self.states = {
            matrix.name: torch.zeros(
                method.state_shape(matrix), device=self.parameters[matrix.parameter].device
            )
            for matrix in matrices
        }
        self.position = 0
        lengths = [len(example) for example in examples]
        self.order = [i for batch in length_batches(lengths, 1) for i in batch]
        # Modules that are no linear maps give whole gradients, so their examples come one by one.
        self.linear = [matrix for matrix in matrices if matrix.linear]
        self.whole = [matrix for matrix in matrices if not matrix.linear]
        self.one_by_one = bool(self.whole)
        if self.whole:
            log.info(
                "%d matrices (%s, ...) are no plain linear maps: one example at a time, with "
                "autograd's gradient",
                len(self.whole), self.whole[0].name,
            )  # fmt: skip

    def run(self, after_batch: Callable[[int], None] = lambda count: None) -> None:
        """Sum over the examples from :attr:`position` on; call ``after_batch`` with each count.

        Raises:
            OutOfMemory: one example alone does not fit.
        """
        with _frozen(self.model, {m.parameter for m in self.whole}), self._graph_begins_late():
            while self.position < len(self.order):
                indices = self._next_batch()
                try:
                    self._step_or_halve(indices, frozenset())
                except MixedExamples as mixed:
                    # Raised in the forward pass, before any sum has changed.
                    log.info(
                        "%s sees tokens of several examples mixed: one example at a time",
                        mixed.matrix.name,
                    )
                    self.one_by_one = True
                    continue
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

    def _step_or_halve(self, indices: list[int], skip: frozenset[str]) -> None:
        """Sum over a batch; out of memory, over its halves, less the matrices already summed."""
        done = set(skip)
        try:
            self._step(indices, done)
            return
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            longest = len(self.examples[indices[0]])
            if len(indices) == 1:
                raise OutOfMemory(
                    f"One example of {longest} tokens does not fit into memory beside the sums of "
                    f"{len(self.matrices)} matrices. Give a smaller --memory-limit (more passes, "
                    "each with fewer sums), lower --max-length, or load the model in half "
                    "precision."
                ) from error
        # Outside the except clause: the failed pass and its activations are let go first.
        half = len(indices) // 2
        self.batch_tokens = min(self.batch_tokens, longest * half)
        log.warning("Out of memory: going on with %d tokens a batch", self.batch_tokens)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        for part in (indices[:half], indices[half:]):
            self._step_or_halve(part, frozenset(done))

    def _step(self, indices: list[int], done: set[str]) -> None:
        """One forward and backward pass; ``done`` gets the name of each matrix once summed."""
        batch = collate([self.examples[index] for index in indices], input_device(self.model))
        signs = [self.signs[index] for index in indices]

        def sink(matrix: WeightMatrix, x: Tensor, delta: Tensor) -> None:
            if matrix.name not in done:
                self.method.add(self.states[matrix.name], x, delta, batch, signs)
                done.add(matrix.name)

        gradient = self.method.needs_gradient
        with Capture(self.model, self.linear, sink, gradient=gradient) as capture:
            with capture.batch(*batch.input_ids.shape), torch.set_grad_enabled(gradient):
                loss = example_losses(self.model, batch).sum()
                if gradient:
                    loss.backward()
        self._add_whole_gradients(signs[0], done)

    def _add_whole_gradients(self, sign: int, done: set[str]) -> None:
        for matrix in self.whole:
            gradient = self.parameters[matrix.parameter].grad
            if gradient is not None and matrix.name not in done:
                view = matrix.view(gradient).float()
                self.method.add_gradient(self.states[matrix.name], view, sign)
                done.add(matrix.name)
        for matrix in self.whole:
            self.parameters[matrix.parameter].grad = None

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
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    model.eval()
    try:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in trainable)
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(before[name])
        model.train(training)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on any device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return "can't allocate memory" in str(error) or "out of memory" in str(error).lower()
