"""The ways that are compared, each as one function over a :class:`Bench`.

A way returns the shortlists that it chose (the floors choose none) and the layers that it was
timed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import torch
from torch import Tensor

from benchmarks.setup import Bench
from declutch.data.encoding import EncodedExample
from declutch.models.batches import length_batches
from declutch.models.forward import Batch
from declutch.models.matrices import WeightMatrix
from declutch.scoring.accumulate import Accumulation
from declutch.scoring.methods.importance import Importance
from declutch.scoring.shortlists import Shortlist, make_shortlist

TOP = 1e-4  # the share of a matrix in which ways must agree
_KEPT = 2 * TOP  # kept of each, so that a near miss in one way has a score in the other
SHORTLIST = 1e-3  # what scoring keeps by default


@dataclass
class Outcome:
    """What a way did.

    Attributes:
        seconds: time for the layers in ``layers``.
        layers: layers that were timed; empty means all.
        shortlists: by matrix.
    """

    seconds: float = 0.0
    layers: list[int] = field(default_factory=list)
    shortlists: dict[str, Shortlist] = field(default_factory=dict)


def per_layer(bench: Bench) -> Outcome:
    """As published (arXiv 2410.16672): for each layer a pass over all data, example by example.

    Weight gradients are taken of that layer's targeted matrices alone, by transformers' own loss
    over the labels, and ``|W·g|`` is added up. The published code then pickles the full float
    matrices; here their bytes are counted and nothing is written.
    """
    parameters = dict(bench.model.named_parameters())
    outcome = Outcome(layers=timed_layers(bench.blocks, bench.spec.layers))
    with gradients_restored(bench):
        for layer in outcome.layers:
            matrices = [matrix for matrix in bench.matrices if matrix.layer == layer]
            wanted = {matrix.parameter for matrix in matrices}
            started = now(bench)
            for name, parameter in parameters.items():
                parameter.requires_grad_(name in wanted)
            totals = make_totals(bench, matrices)
            for example in bench.examples:
                bench.model.zero_grad()
                labelled_loss(bench, [example]).backward()
                for matrix in matrices:
                    add_scores(totals[matrix.name], matrix, parameters[matrix.parameter])
            outcome.seconds += now(bench) - started
            outcome.shortlists.update(shortlists(bench, matrices, totals, _KEPT))
    return outcome


def hooks(bench: Bench) -> Outcome:
    """One pass, example by example, a hook on the gradient of every targeted parameter."""
    owned: dict[str, list[WeightMatrix]] = {}
    for matrix in bench.matrices:
        owned.setdefault(matrix.parameter, []).append(matrix)
    outcome = Outcome()
    with gradients_restored(bench):
        started = now(bench)
        totals = make_totals(bench, bench.matrices)
        handles = []

        def hook(matrices: list[WeightMatrix]) -> Callable[[Tensor], None]:
            def fold(parameter: Tensor) -> None:
                for matrix in matrices:
                    add_scores(totals[matrix.name], matrix, parameter)
                parameter.grad = None

            return fold

        for name, parameter in bench.model.named_parameters():
            parameter.requires_grad_(name in owned)
            if name in owned:
                handles.append(parameter.register_post_accumulate_grad_hook(hook(owned[name])))
        for example in bench.examples:
            labelled_loss(bench, [example]).backward()
        outcome.seconds = now(bench) - started
        for handle in handles:
            handle.remove()
    outcome.shortlists = shortlists(bench, bench.matrices, totals, _KEPT)
    return outcome


def declutch(bench: Bench) -> Outcome:
    """Ours, from examples to shortlists."""
    method, outcome = Importance(), Outcome()
    started = now(bench)
    sums = Accumulation(
        bench.model, method, bench.matrices, bench.examples, bench.spec.batch_tokens
    )
    sums.run()
    for matrix in bench.matrices:
        weight = matrix.view(sums.parameters[matrix.parameter].detach())
        scores = method.scores(sums.states.pop(matrix.name), weight, len(bench.examples))
        outcome.shortlists[matrix.name] = make_shortlist(scores, weight, SHORTLIST)
    outcome.seconds = now(bench) - started
    return outcome


def plain(bench: Bench) -> Outcome:
    """The floor: forward and backward with weight gradients, same batches, nothing scored.

    Transformers' loss over the labels (logits at every position), gradients of every parameter.
    No attention mask is given: padding is on the right, and without one attention is faster.
    """
    outcome = Outcome()
    with gradients_restored(bench):
        bench.model.requires_grad_(True)
        started = now(bench)
        for batch in batches(bench):
            bench.model.zero_grad()
            labelled_loss(bench, batch).backward()
        outcome.seconds = now(bench) - started
    return outcome


def lean_gradients(bench: Bench) -> Outcome:
    """A leaner floor: our passes with the batch's summed weight gradients of the targets.

    Logits at counted tokens alone, gradients of the targeted matrices alone: what a training step
    of just these matrices would cost at its best.
    """
    return _accumulate(bench, Importance("signed"))


def lean_passes(bench: Bench) -> Outcome:
    """The leanest floor: our passes without any product; no weight gradient at all."""
    return _accumulate(bench, _NoProducts())


class _NoProducts(Importance):
    def add(self, state: Tensor, x: Tensor, delta: Tensor, batch: Batch, signs: list[int]) -> None:
        """Nothing."""


def _accumulate(bench: Bench, method: Importance) -> Outcome:
    started = now(bench)
    Accumulation(bench.model, method, bench.matrices, bench.examples, bench.spec.batch_tokens).run()
    return Outcome(now(bench) - started)


WAYS: dict[str, Callable[[Bench], Outcome]] = {
    "per_layer": per_layer,
    "hooks": hooks,
    "declutch": declutch,
    "plain": plain,
    "lean_gradients": lean_gradients,
    "lean_passes": lean_passes,
}


def timed_layers(blocks: int, count: int | None) -> list[int]:
    """``count`` layers spread evenly, so that their mean is that of all.

    A lower layer costs more, since the backward pass goes further down; the cost is linear in the
    layer, and so the mean over the middles of equal stretches is the mean over all.
    """
    if count is None or count >= blocks:
        return list(range(blocks))
    return [int((2 * part + 1) * blocks / (2 * count)) for part in range(count)]


def now(bench: Bench) -> float:
    """The time, once the device has done what it was given."""
    if bench.spec.device.startswith("cuda"):
        torch.cuda.synchronize()
    return perf_counter()


@contextmanager
def gradients_restored(bench: Bench) -> Iterator[None]:
    """Leave no gradient behind, and no parameter without one."""
    try:
        yield
    finally:
        bench.model.requires_grad_(True)
        bench.model.zero_grad()


def batches(bench: Bench) -> list[list[EncodedExample]]:
    """The batches that ours makes."""
    lengths = [len(example) for example in bench.examples]
    return [
        [bench.examples[index] for index in batch]
        for batch in length_batches(lengths, bench.spec.batch_tokens)
    ]


def labelled_loss(bench: Bench, examples: list[EncodedExample]) -> Tensor:
    """Transformers' own loss, labels at the counted tokens."""
    longest = max(len(example) for example in examples)
    ids = torch.zeros(len(examples), longest, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for row, example in enumerate(examples):
        ids[row, : len(example)] = torch.tensor(example.input_ids)
        mask = torch.tensor(example.loss_mask)
        labels[row, : len(example)][mask] = ids[row, : len(example)][mask]
    device = bench.spec.device
    loss: Tensor = bench.model(
        input_ids=ids.to(device), labels=labels.to(device), use_cache=False
    ).loss
    return loss


def make_totals(
    bench: Bench, matrices: list[WeightMatrix] | tuple[WeightMatrix, ...]
) -> dict[str, Tensor]:
    """Float32 score matrices of zeros."""
    return {matrix.name: torch.zeros(matrix.shape, device=bench.spec.device) for matrix in matrices}


def add_scores(total: Tensor, matrix: WeightMatrix, parameter: Tensor) -> None:
    """Add ``|W·g|`` of one example."""
    assert parameter.grad is not None
    total.add_(matrix.view(parameter.detach() * parameter.grad).abs())


def shortlists(
    bench: Bench,
    matrices: list[WeightMatrix] | tuple[WeightMatrix, ...],
    totals: dict[str, Tensor],
    share: float,
) -> dict[str, Shortlist]:
    """The top of each matrix by mean score."""
    parameters = dict(bench.model.named_parameters())
    return {
        matrix.name: make_shortlist(
            totals[matrix.name] / len(bench.examples),
            matrix.view(parameters[matrix.parameter].detach()),
            share,
        )
        for matrix in matrices
    }
