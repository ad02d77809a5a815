"""How much memory scoring needs, and how to stay within what there is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import psutil
import torch
from torch import Tensor, nn

from declutch.data.encoding import EncodedExample
from declutch.errors import OutOfMemory, SettingsError
from declutch.models.forward import collate, example_losses, input_device
from declutch.models.matrices import WeightMatrix
from declutch.scoring.methods import Method

_MARGIN = 0.8  # of the free memory, where no limit is given
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# Tokens in a batch beyond which nothing gets faster: matrix products are at full speed.
_ENOUGH_TOKENS = {"cpu": 768, "cuda": 16384}


def parse_size(text: str) -> int:
    """Bytes of a size such as ``800M``, ``16GiB`` or ``2e9``.

    Raises:
        SettingsError: it is no size.
    """
    match = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.I)
    try:
        assert match
        return int(float(match[1]) * _UNITS[match[2].upper()])
    except (AssertionError, ValueError) as error:
        raise SettingsError(
            f"--memory-limit «{text}» is not a size; write for example 800M or 16GiB."
        ) from error


def format_size(size: float) -> str:
    """A size for people: ``1.4 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had on a device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + cached)
    return int(psutil.virtual_memory().available)


@dataclass(frozen=True)
class Plan:
    """How a scoring run is cut up.

    Attributes:
        groups: the matrices of each pass over the data.
        batch_tokens: padded tokens in a batch.
        limit: bytes that scoring may use beyond the loaded model.
        accumulators: bytes of the largest group's sums.
        per_token: bytes of activations that one more token in a batch takes.
    """

    groups: tuple[tuple[WeightMatrix, ...], ...]
    batch_tokens: int
    limit: int
    accumulators: int
    per_token: int

    @property
    def peak(self) -> int:
        """Estimated bytes beyond the loaded model."""
        return self.accumulators + self.batch_tokens * self.per_token

    def sentence(self) -> str:
        """What was planned, in plain words."""
        passes = len(self.groups)
        return (
            f"{format_size(self.peak)} beyond the model ({format_size(self.accumulators)} of sums, "
            f"{format_size(self.batch_tokens * self.per_token)} of activations for "
            f"{self.batch_tokens} tokens a batch), {passes} pass{'es' if passes > 1 else ''} "
            f"over the data; limit {format_size(self.limit)}"
        )


def state_bytes(method: Method, matrix: WeightMatrix) -> int:
    """Bytes of a matrix's running sum."""
    return 4 * prod(method.state_shape(matrix))


def make_plan(
    model: nn.Module,
    method: Method,
    matrices: Sequence[WeightMatrix],
    examples: Sequence[EncodedExample],
    limit: int | None = None,
    batch_tokens: int | None = None,
) -> Plan:
    """Fit a run into memory with the fewest passes over the data.

    Args:
        examples: of all dimensions; the longest sets the smallest batch.
        limit: bytes that scoring may use beyond the loaded model; by default most of what is free.
        batch_tokens: padded tokens in a batch; by default what fits, up to where it stops paying.

    Raises:
        OutOfMemory: one example and one matrix already need more.
    """
    device = input_device(model)
    # A device map spreads sums and activations alike; the fullest device is close to the mean.
    devices = {p.device for p in model.parameters()}
    if limit is None:
        limit = int(_MARGIN * sum(free_memory(one) for one in devices))
    longest = max(examples, key=len)
    per_token = activation_bytes(model, longest, method.needs_gradient) // len(longest) + 1
    sizes = {matrix.name: state_bytes(method, matrix) for matrix in matrices}
    # Turning a sum into scores needs a few more of the largest matrix for a moment.
    workspace = 4 * max(matrix.numel for matrix in matrices)
    smallest = len(longest) * per_token
    room = limit - smallest - workspace
    if room < max(sizes.values()):
        needed = smallest + workspace + max(sizes.values())
        raise OutOfMemory(
            f"The memory limit of {format_size(limit)} is too small: one example of "
            f"{len(longest)} tokens takes {format_size(smallest)} of activations and the largest "
            f"matrix {format_size(max(sizes.values()) + workspace)}. Give --memory-limit at least "
            f"{format_size(needed)}, or lower --max-length."
        )
    groups = _pack(matrices, sizes, room)
    accumulators = max(sum(sizes[m.name] for m in group) for group in groups) + workspace
    enough = _ENOUGH_TOKENS.get(device.type, _ENOUGH_TOKENS["cpu"])
    fitting = (limit - accumulators) // per_token
    tokens = max(len(longest), min(batch_tokens or enough, fitting))
    return Plan(groups, tokens, limit, accumulators, per_token)


def _pack(
    matrices: Sequence[WeightMatrix], sizes: dict[str, int], room: int
) -> tuple[tuple[WeightMatrix, ...], ...]:
    """Cut the matrices, last layer first, into the fewest runs that fit.

    Neighbours stay together: a pass that scores only upper layers stops its backward pass there.
    """
    groups: list[list[WeightMatrix]] = [[]]
    used = 0
    for matrix in sorted(matrices, key=lambda one: -one.layer):
        if groups[-1] and used + sizes[matrix.name] > room:
            groups.append([])
            used = 0
        groups[-1].append(matrix)
        used += sizes[matrix.name]
    return tuple(tuple(group) for group in groups)


def activation_bytes(model: nn.Module, example: EncodedExample, gradient: bool) -> int:
    """Bytes that autograd and the hooks keep for one example, measured by a forward pass."""
    owned = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = collate([example], input_device(model))
    if not gradient:
        # Forward only: a few layers' worth of activations are alive at a time.
        config = getattr(model, "config", None)
        width = getattr(config, "intermediate_size", None) or 4 * getattr(config, "hidden_size", 1)
        return 8 * 4 * width * len(example) + 4 * example.counted * _vocabulary(model)
    embeddings = model.get_input_embeddings()  # type: ignore[operator]
    handle = embeddings.register_forward_hook(lambda _m, _a, out: out.detach().requires_grad_())
    try:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = example_losses(model, batch)
    finally:
        handle.remove()
    del loss
    # Beside what is saved: logits and their gradient at the counted tokens, and the gradients of
    # one block on their way down.
    logits = 3 * 4 * example.counted * _vocabulary(model)
    return int(1.15 * sum(kept.values())) + logits


def _vocabulary(model: nn.Module) -> int:
    head = model.get_output_embeddings()  # type: ignore[operator]
    return int(head.weight.shape[0]) if head is not None else 0
