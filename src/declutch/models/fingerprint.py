"""Tell one model from every other by its weights.

Each parameter gets a 64-bit checksum that is linear in the bit patterns of its float32 values:
``Σ bits(w_n) · (2n+1)·c mod 2⁶⁴``. Linear, so the checksum of an unpatched model follows from the
patched one and the few values that differ, without a copy of either. Taken on float32 bits, so a
bfloat16 checkpoint and the same checkpoint widened to float32 are one model. The fingerprint is
the SHA-256 of all names, shapes and checksums.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256

import torch
from torch import Tensor, nn

from declutch.files import sha256_json
from declutch.records import Record

_MULTIPLIER = 0x1E3779B97F4A7C15  # any odd 64-bit constant; fits a signed integer
# Stays in a processor's cache, and is the most that PyTorch does without sharing it out to
# threads, which takes longer than the sum where others keep the cores busy; fills a GPU.
_CHUNK = {"cpu": 1 << 15, "other": 1 << 22}
_MASK = (1 << 64) - 1


def float_bits(values: Tensor) -> Tensor:
    """The float32 bit patterns of values, as int64 (−0.0 counts as 0.0)."""
    # A masked multiplication leaves −0.0 behind; it is the same weight.
    return (values.detach().float() + 0.0).view(torch.int32).to(torch.int64)


def checksum(parameter: Tensor, first: int = 0) -> int:
    """The linear 64-bit checksum of a parameter's values in storage order.

    Args:
        first: where the values begin, in a parameter of which they are a part.
    """
    flat = parameter.detach().reshape(-1)
    chunk = _CHUNK.get(flat.device.type, _CHUNK["other"])
    # (2(start+n)+1)·c = c·(2n+1) + c·2·start: one table of 2n+1 serves every chunk.
    steps = 2 * torch.arange(min(chunk, flat.numel()), device=flat.device) + 1
    total = 0
    for start in range(0, flat.numel(), chunk):
        bits = float_bits(flat[start : start + chunk])
        inside = int((bits * steps[: bits.numel()]).sum().item())
        total += inside + 2 * (first + start) * int(bits.sum().item())
    return total * _MULTIPLIER & _MASK


def checksum_change(indices: Tensor, before: Tensor, after: Tensor) -> int:
    """What to add to a checksum when the values at ``indices`` change from before to after."""
    change = float_bits(after) - float_bits(before)
    factors = (2 * indices.to(change.device) + 1) * _MULTIPLIER
    return int((change * factors).sum().item()) & _MASK


def fingerprint(model: nn.Module, changes: Mapping[str, int] | None = None) -> str:
    """SHA-256 (hex) over every parameter's name, shape and checksum.

    Args:
        changes: for some parameters, what to add to the checksum first
            (:func:`checksum_change`): how a patched model proves what it was made from.
    """
    checksums = {name: checksum(parameter) for name, parameter in model.named_parameters()}
    return fingerprint_of(model, checksums, changes or {})


def fingerprint_of(
    model: nn.Module, checksums: Mapping[str, int], changes: Mapping[str, int]
) -> str:
    """The fingerprint, where each parameter's checksum is known."""
    entries = [
        [name, list(parameter.shape), (checksums[name] + changes.get(name, 0)) & _MASK]
        for name, parameter in sorted(model.named_parameters())
    ]
    return sha256(json.dumps(entries, separators=(",", ":")).encode()).hexdigest()


def seal(
    facts: Record, tensors: Iterable[tuple[str, Sequence[Tensor]]], *, without: Collection[str]
) -> str:
    """SHA-256 (hex) of a record's facts and of named tensors, so that neither changes unseen.

    Real numbers count by their float32 bits, whatever their dtype, as in the fingerprint.

    Args:
        without: facts that are left out: the checksum itself, and what may be worded anew.
    """
    # A field that a later version adds, at its default, must not change the checksum.
    kept = facts.model_dump(mode="json", exclude=set(without), exclude_defaults=True)
    digest = sha256(sha256_json(kept).encode())
    for name, parts in tensors:
        digest.update(name.encode())
        for part in parts:
            bits = float_bits(part) if part.is_floating_point() else part
            digest.update(bits.numpy().tobytes())
    return digest.hexdigest()
