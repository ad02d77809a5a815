"""Forward passes over examples, with logits at the counted tokens only.

Examples are padded on the right and no attention mask is given: in a causal model nothing before
a padding token can see it, so each example's activations, loss and gradients are what they would
be alone, and the attention kernels without a mask are the fast ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from declutch.data.encoding import EncodedExample
from declutch.models.batches import length_batches
from declutch.models.prompts import prompts_end
from declutch.progress import track


@dataclass(frozen=True)
class Batch:
    """Padded examples and where the loss is taken.

    Attributes:
        input_ids: ``[B, T]``.
        lengths: tokens of each example, without padding.
        rows, columns: for each counted token, its example and the position that predicts it.
        targets: the counted tokens.
        counts: counted tokens of each example.
    """

    input_ids: Tensor
    lengths: tuple[int, ...]
    rows: Tensor
    columns: Tensor
    targets: Tensor
    counts: tuple[int, ...]


def collate(examples: Sequence[EncodedExample], device: torch.device | str = "cpu") -> Batch:
    """Pad examples on the right into one batch."""
    longest = max(len(example) for example in examples)
    ids = torch.zeros(len(examples), longest, dtype=torch.long)
    mask = torch.zeros(len(examples), longest, dtype=torch.bool)
    for row, example in enumerate(examples):
        ids[row, : len(example)] = torch.tensor(example.input_ids)
        mask[row, : len(example)] = torch.tensor(example.loss_mask)
    rows, columns = mask.nonzero(as_tuple=True)
    return Batch(
        input_ids=ids.to(device),
        lengths=tuple(len(example) for example in examples),
        rows=rows.to(device),
        columns=(columns - 1).to(device),
        targets=ids[rows, columns].to(device),
        counts=tuple(example.counted for example in examples),
    )


def logits_at(model: nn.Module, input_ids: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Logits ``[N, V]`` at N positions of ``[B, T]`` tokens, and of no others.

    Whatever the model does to its logits after the head (scaling, soft-capping) is applied as it
    is, element by element.
    """
    ends = _prompt_ends(input_ids, rows, columns)
    with _head_at(model, rows, columns) as gathered, prompts_end(ends):
        logits: Tensor = model(input_ids=input_ids, use_cache=False).logits
    if gathered():
        return logits[0]
    return logits[rows.to(logits.device), columns.to(logits.device)]


def _prompt_ends(input_ids: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``[B]``: the tokens up to the first position that predicts a counted one."""
    device = input_ids.device
    whole = torch.full((len(input_ids),), input_ids.shape[1], device=device)
    return whole.scatter_reduce(0, rows.to(device), columns.to(device) + 1, "amin")


def token_losses(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy in float32 of every counted token, ``[N]``, in the order of ``batch.targets``.

    The head sees the counted positions only.
    """
    logits = logits_at(model, batch.input_ids, batch.rows, batch.columns)
    targets = batch.targets.to(logits.device)
    return functional.cross_entropy(logits.float(), targets, reduction="none")


def example_losses(model: nn.Module, batch: Batch) -> Tensor:
    """``L(s)``: the mean cross-entropy of the response given the prompt, ``[B]``, float32."""
    losses = token_losses(model, batch)
    counts = torch.tensor(batch.counts, device=losses.device)
    sums = torch.zeros(len(batch.counts), device=losses.device)
    return sums.index_add(0, batch.rows.to(losses.device), losses) / counts


@torch.no_grad()
def response_logprobs(
    model: nn.Module,
    encoded: Sequence[EncodedExample],
    max_tokens: int = 1024,
    description: str = "Reading examples",
    *,
    alone: bool = False,
) -> list[Tensor]:
    """Log-probability in float32 of each counted token of each example, on the CPU.

    Args:
        max_tokens: padded tokens in a batch.
        alone: one example at a time (:func:`declutch.models.probes.must_be_alone`).

    Returns:
        A 1-D tensor for each example, in the order given.
    """
    device = input_device(model)
    results: list[Tensor] = [torch.empty(0)] * len(encoded)
    lengths = [len(example) for example in encoded]
    batches = length_batches(lengths, max_tokens, 1 if alone else None)
    for indices in track(batches, description):
        batch = collate([encoded[index] for index in indices], device)
        with evaluation_mode(model):
            losses = token_losses(model, batch).cpu()
        for index, part in zip(indices, losses.split(list(batch.counts)), strict=True):
            results[index] = -part
    return results


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """No dropout, and no length remembered; each module is put back as it was.

    Dynamic RoPE (NTK) keeps the factors of the longest pass so far: an example would depend on
    those before it.
    """
    training = [(module, module.training) for module in model.modules()]
    ropes = [one for one in model.modules() if "dynamic" in str(getattr(one, "rope_type", ""))]
    handles = [rope.register_forward_pre_hook(_forget_length) for rope in ropes]
    model.eval()
    try:
        yield
    finally:
        for module, before in training:
            module.training = before
        for handle in handles:
            handle.remove()
        for rope in ropes:
            _forget_length(rope)


def _forget_length(rope: Any, *_: Any) -> None:
    """As the module was made; where layers differ, it has these attributes for each kind."""
    for name in [*vars(rope), *dict(rope.named_buffers())]:
        if name.endswith("max_seq_len_cached"):
            setattr(rope, name, rope.original_max_seq_len)
        elif name.endswith("original_inv_freq"):
            own = name.replace("original_inv_freq", "inv_freq")
            setattr(rope, own, getattr(rope, name).to(getattr(rope, own).device))


def input_device(model: nn.Module) -> torch.device:
    """The device on which a model takes its token ids."""
    getter: Callable[[], Any] | None = getattr(model, "get_input_embeddings", None)
    embeddings = getter() if getter else None
    source = embeddings if embeddings is not None else model
    return next(source.parameters()).device


def output_head(model: nn.Module) -> nn.Module | None:
    """The module that makes logits of a model's last states, if it can be told."""
    getter: Callable[[], Any] | None = getattr(model, "get_output_embeddings", None)
    head = getter() if getter else None
    return head if isinstance(head, nn.Module) else None


@contextlib.contextmanager
def _head_at(model: nn.Module, rows: Tensor, columns: Tensor) -> Iterator[Callable[[], bool]]:
    """Let the output head see only the given positions; the yielded call tells whether it did."""
    head = output_head(model)
    done = False

    def gather(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        nonlocal done
        hidden = args[0]
        if hidden.ndim != 3:  # ProphetNet's head sees several streams of each example
            return args
        done = True
        picked = hidden[rows.to(hidden.device), columns.to(hidden.device)]
        return (picked.unsqueeze(0), *args[1:])

    with head.register_forward_pre_hook(gather) if head else contextlib.nullcontext():
        yield lambda: done
