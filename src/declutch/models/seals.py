"""A seal: one checksum over facts and the tensors beside them, so that neither changes unseen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from hashlib import sha256

from torch import Tensor

from declutch.files import sha256_json
from declutch.models.fingerprint import float_bits
from declutch.records import Record


def seal(
    facts: Record, tensors: Iterable[tuple[str, Sequence[Tensor]]], *, without: Collection[str]
) -> str:
    """SHA-256 (hex) of a record's facts and of named tensors, in the order given.

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
