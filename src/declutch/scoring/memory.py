"""How much memory scoring needs, and how to stay within what there is."""

from __future__ import annotations

import ctypes
import re
import sys
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from declutch.data.encoding import EncodedExample
from declutch.errors import OutOfMemory, SettingsError
from declutch.models.forward import Batch, input_device
from declutch.models.matrices import WeightMatrix
from declutch.scoring.accumulate import Accumulation
from declutch.scoring.method import Method
from declutch.scoring.shortlists import TOP_BYTES

_MARGIN = 0.8  # of the free memory, where no limit is given
_SLACK = 1.15  # an allocator holds a little more than is asked of it
_FIXED = 4 << 20  # what libraries keep for themselves
_SHORT = 16  # tokens of the shorter of two passes that tell what a token takes
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_GIVEN_BACK_FROM = 256 << 10
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# Tokens in a batch beyond which nothing gets faster: matrix products are at full speed.
_ENOUGH_TOKENS = {"cpu": 384, "cuda": 16384}


def parse_size(text: str) -> int:
    """Bytes of a size such as ``800M``, ``16GiB`` or ``2e9``.

    Raises:
        SettingsError: it is no size.
    """
    match = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.I)
    try:
        assert match
        return int(float(match[1]) * _UNITS[match[2].upper()])
    except (AssertionError, ValueError, OverflowError) as error:
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


def hold_no_freed_memory() -> None:
    """Make the C library give large blocks back when they are freed (glibc; elsewhere nothing).

    By itself it keeps more and more of them for later, and a process then holds up to half as
    much again as its tensors. Costs some speed, so it is for runs under a stated limit.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            mallopt(option, _GIVEN_BACK_FROM)


@dataclass(frozen=True)
class PassPlan:
    """How a scoring run is cut up.

    Attributes:
        groups: the matrices of each pass over the data.
        batch_tokens: padded tokens in a batch.
        limit: bytes that scoring may use beyond the loaded model.
        accumulators: bytes of the largest group's sums.
        fixed: bytes that a forward and backward pass takes however short it is.
        per_token: bytes that one more token in a batch takes.
        workspace: bytes that turning a matrix's sum into a shortlist takes, after the passes.
    """

    groups: tuple[tuple[WeightMatrix, ...], ...]
    batch_tokens: int
    limit: int
    accumulators: int
    fixed: int
    per_token: int
    workspace: int

    @property
    def activations(self) -> int:
        """Estimated bytes of a forward and backward pass."""
        return self.fixed + self.batch_tokens * self.per_token

    @property
    def peak(self) -> int:
        """Estimated bytes beyond the loaded model."""
        return self.accumulators + max(self.activations, self.workspace)

    def sentence(self) -> str:
        """What was planned, in plain words."""
        passes = len(self.groups)
        return (
            f"{format_size(self.peak)} beyond the model ({format_size(self.accumulators)} of sums, "
            f"{format_size(self.activations)} of activations for {self.batch_tokens} tokens a "
            f"batch), {passes} pass{'es' if passes > 1 else ''} over the data; limit "
            f"{format_size(self.limit)}"
        )

    def record(self) -> dict[str, Any]:
        """As JSON."""
        groups = [[matrix.name for matrix in group] for group in self.groups]
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, "groups": groups}

    @classmethod
    def of_record(cls, record: dict[str, Any], matrices: Sequence[WeightMatrix]) -> PassPlan:
        """The plan that :meth:`record` wrote."""
        by_name = {matrix.name: matrix for matrix in matrices}
        groups = tuple(tuple(by_name[name] for name in group) for group in record["groups"])
        return cls(**{**record, "groups": groups})


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
    processes: int = 1,
    *,
    quick: bool = False,
) -> PassPlan:
    """Fit a run into memory with the fewest passes over the data.

    Args:
        examples: of all dimensions; the longest sets the smallest batch.
        limit: bytes that scoring may use beyond the loaded model; by default most of what is free.
        batch_tokens: padded tokens in a batch; by default what fits, up to where it stops paying.
        processes: how many share this machine's memory (each GPU has a process of its own).
        quick: where a short pass shows that memory is plenty, leave it at that. The plan is the
            same; what it says of activations is then rougher, and rather too much.

    Raises:
        OutOfMemory: one example and one matrix already need more.
    """
    device = input_device(model)
    # A device map spreads sums and activations alike; the fullest device is close to the mean.
    devices = {p.device for p in model.parameters()}
    if limit is None:
        free = sum(free_memory(one) for one in devices)
        limit = int(_MARGIN * free / (processes if device.type == "cpu" else 1))
    longest = max(len(example) for example in examples)
    enough = batch_tokens or _ENOUGH_TOKENS.get(device.type, _ENOUGH_TOKENS["cpu"])
    sizes = {matrix.name: state_bytes(method, matrix) for matrix in matrices}
    room = max(0, int(0.95 * limit) - sum(sizes.values())) if quick else 0
    example = _costliest(examples)
    fixed, per_token = measure(model, method, matrices, example, room // -(-enough // longest))
    # A checkpoint of the sums may copy one of them.
    workspace = max(max(method.workspace(m), sizes[m.name]) for m in matrices) + TOP_BYTES
    beside = max(fixed + longest * per_token, workspace)
    if limit - beside < max(sizes.values()):
        raise OutOfMemory(
            f"The memory limit of {format_size(limit)} is too small: one example of "
            f"{longest} tokens takes {format_size(fixed + longest * per_token)} of activations, "
            f"and the largest matrix {format_size(max(sizes.values()))} for its sum and "
            f"{format_size(workspace)} for its shortlist. Give --memory-limit at least "
            f"{format_size(beside + max(sizes.values()))}, or lower --max-length."
        )
    groups = _pack(matrices, sizes, limit - beside)
    accumulators = max(sum(sizes[m.name] for m in group) for group in groups)
    fitting = (int(0.95 * limit) - accumulators - fixed) // per_token
    tokens = max(longest, min(enough, fitting))
    return PassPlan(groups, tokens, limit, accumulators, fixed, per_token, workspace)


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


def measure(
    model: nn.Module,
    method: Method,
    matrices: Sequence[WeightMatrix],
    example: EncodedExample,
    room: int = 0,
) -> tuple[int, int]:
    """What a pass takes beside the sums: bytes however short it is, and bytes for each token.

    Two passes are made as they will be made, over a short end of the example and over all of it,
    but of matrices of one shape only the first is summed. The second is left out where the
    example fits into ``room`` bytes even if all grew with the square of the length.
    """
    length = len(example)
    short = max(2, min(_SHORT, length // 2))
    low = _peak_at(short, model, method, matrices, example)
    if length > short and low * (length / short) ** 2 <= room:
        return _FIXED, max(1, int(_SLACK * low / short))
    high = low if length == short else _peak_at(length, model, method, matrices, example)
    per_token = (high - low) // (length - short) if length > short else high // length
    per_token = max(1, int(_SLACK * per_token))
    return max(0, high - per_token * length) + _FIXED, per_token


def _peak_at(
    tokens: int,
    model: nn.Module,
    method: Method,
    matrices: Sequence[WeightMatrix],
    example: EncodedExample,
) -> int:
    """Most bytes that a pass over so many tokens takes, counted ones in the example's share."""
    mask = _mask(tokens, example.counted / len(example))
    part = EncodedExample((example.input_ids * 2)[:tokens], mask)
    trial = Accumulation(model, _OnceAShape(method), matrices, [part], tokens, scratch=True)
    return _peak_of(trial, model)


class _OnceAShape:
    """A method that adds only what it has not added in that shape before.

    A backward pass comes to the first of a shape while the most activations are alive, so this
    one makes the peak; the others would take the time and nothing more.
    """

    def __init__(self, method: Method) -> None:
        self.name, self.needs_gradient = method.name, method.needs_gradient
        self.state_shape, self.scores = method.state_shape, method.scores
        self.workspace = method.workspace
        self._method = method
        self._seen: set[tuple[torch.Size, ...]] = set()

    def add(self, state: Tensor, x: Tensor, delta: Tensor, batch: Batch, signs: list[int]) -> None:
        if self._new(state.shape, x.shape, delta.shape):
            self._method.add(state, x, delta, batch, signs)

    def add_gradient(self, state: Tensor, gradient: Tensor, sign: int) -> None:
        if self._new(state.shape):
            self._method.add_gradient(state, gradient, sign)

    def _new(self, *shapes: torch.Size) -> bool:
        known = shapes in self._seen
        self._seen.add(shapes)
        return not known


def _peak_of(trial: Accumulation, model: nn.Module) -> int:
    """Most bytes alive at a time while a trial runs, beyond those alive before it."""
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    if not devices:
        with _LiveBytes(model, trial.states.values()) as live:
            trial.run()
        return int(live.peak)
    for device in devices:
        torch.cuda.reset_peak_memory_stats(device)
    before = sum(torch.cuda.memory_allocated(device) for device in devices)
    trial.run()
    return int(sum(torch.cuda.max_memory_allocated(device) for device in devices) - before)


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside the block, as they come and go."""

    def __init__(self, model: nn.Module, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self.now = 0
        old = (*model.parameters(), *model.buffers(), *known)
        self._alive = {tensor.untyped_storage()._cdata for tensor in old}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.device.type != "meta":
                self._note(tensor.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return
        self._alive.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size


def _costliest(examples: Sequence[EncodedExample]) -> EncodedExample:
    """An example as long as the longest, with the largest share of counted tokens of any."""
    longest = max(examples, key=len)
    share = max(example.counted / len(example) for example in examples)
    return EncodedExample(longest.input_ids, _mask(len(longest), share))


def _mask(tokens: int, share: float) -> tuple[bool, ...]:
    """A loss mask in which that share of tokens is counted, and at least one."""
    counted = min(tokens - 1, max(1, round(share * tokens)))
    return (False,) * (tokens - counted) + (True,) * counted
