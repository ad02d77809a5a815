"""What a model does to an example, found out by two short passes before anything is measured.

Examples share batches, padded on the right and without a mask (:mod:`declutch.models.forward`).
That is right only where no token sees a later one, and where nothing depends on the batch's other
examples or on its length. Most models are so; which are not can't be told from their names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from declutch.errors import ModelError
from declutch.models.forward import evaluation_mode, input_device, logits_at
from declutch.progress import log

# Tokens of the two pieces that are read: enough for every layer to mix them, and cheap.
_SHORT, _LONG = 8, 16
_POSITIONS = 16  # logits that are compared, at most
_LENGTH_WORDS = ("position", "seq", "length", "context", "ctx")


@dataclass(frozen=True)
class Findings:
    """How far logits move that ought to stay, as shares of their spread over the vocabulary.

    Attributes:
        ahead: when later tokens are changed.
        beside: when a longer example stands beside the one read.
        tolerance: what rounding alone may do in the model's dtype.
    """

    ahead: float = 0.0
    beside: float = 0.0
    tolerance: float = 0.0

    @property
    def sees_ahead(self) -> bool:
        """Whether logits depend on later tokens: no causal language model.

        Both readings have one shape, so that little but routed tokens is rounded otherwise.
        """
        return self.ahead > self.tolerance / 2

    @property
    def mixes(self) -> bool:
        """Whether an example depends on what stands beside it in the batch."""
        return self.beside > self.tolerance


def must_be_alone(model: nn.Module, sequences: Sequence[Sequence[int]]) -> bool:
    """Whether these examples must be read one at a time; the log says why.

    Raises:
        ModelError: a token's logits depend on later tokens.
    """
    if not sequences:
        return False
    findings = probe(model, sequences)
    if findings.sees_ahead:
        raise ModelError(
            f"{type(model).__name__} is no causal language model as it is loaded: changed later "
            f"tokens move the logits before them (by {findings.ahead:.2g} of their spread, where "
            f"{findings.tolerance:.2g} would be rounding). A loss on the response would be read "
            "off the response itself. Load it as a decoder, if it can be one (is_decoder in its "
            "config.json), or take another model."
        )
    if findings.mixes:
        log.warning(
            "What stands beside an example in a batch changes it (its logits by %.2g of their "
            "spread, where %.2g would be rounding): one example at a time.",
            findings.beside, findings.tolerance,
        )  # fmt: skip
    elif factors_follow(model, [len(sequence) for sequence in sequences]):
        log.warning(
            "RoPE's factors follow the longest example of a batch, and some are longer than the "
            "length from which they do: one example at a time."
        )
        return True
    return findings.mixes


def factors_follow(model: nn.Module, lengths: Sequence[int]) -> bool:
    """Whether RoPE (dynamic NTK, longrope) changes among these lengths; rounding may hide it."""
    kinds = " ".join(str(getattr(module, "rope_type", "")) for module in model.modules())
    moving = "dynamic" in kinds or "longrope" in kinds
    return moving and min(lengths) < max(lengths) and crosses_length(model, max(lengths))


@torch.no_grad()
def probe(model: nn.Module, sequences: Sequence[Sequence[int]]) -> Findings:
    """Read a short example alone, then beside a longer one and that one with its end changed.

    The ends of the shortest and the longest are taken, or both whole where the configuration
    names a length that the longest exceeds: what depends on length changes there.
    """
    short, long = _pieces(model, sequences)
    if len(long) < 2:
        return Findings()
    kept = max(1, len(long) // 4)
    alone, before = _spread(len(short)), _spread(kept)
    ids = torch.zeros(3, len(long), dtype=torch.long)
    ids[0] = torch.tensor(long)
    ids[1, : len(short)] = torch.tensor(short)
    ids[2] = torch.tensor([*long[:kept], *_others(long[kept:], (*short, *long))])
    rows = [1] * len(alone) + [0] * len(before) + [2] * len(before)
    with evaluation_mode(model):
        by_itself = _logits(model, ids[1:2, : len(short)], [0] * len(alone), alone)
        together = _logits(model, ids, rows, [*alone, *before, *before])
    beside, first, changed = together.split([len(alone), len(before), len(before)])
    return Findings(
        ahead=relative_change(first, changed),
        beside=relative_change(by_itself, beside),
        tolerance=tolerance(model),
    )


def tolerance(model: nn.Module) -> float:
    """The change of logits that rounding alone may make: half of the dtype's digits.

    Under autocast it is that dtype's.

    Measured: float32 1e-6, bfloat16 0.03 (SmolLM2, 30 layers); what was to be found moved the
    logits of models with weights of a usual size by 0.05 to 2.
    """
    dtypes = {p.dtype for p in model.parameters() if p.dtype.is_floating_point}
    for device in {p.device.type for p in model.parameters()}:
        if torch.is_autocast_enabled(device):
            dtypes.add(torch.get_autocast_dtype(device))
    return math.sqrt(max((torch.finfo(dtype).eps for dtype in dtypes), default=0.0))


def relative_change(logits: Tensor, others: Tensor) -> float:
    """Distance of two ``[N, V]``, in units of the first's spread over V; the median over N.

    The median, since in half precision a router's near tie may send single tokens elsewhere.
    """
    centred = logits - logits.mean(-1, keepdim=True)
    distance = (logits - others).norm(dim=-1)
    tiny = torch.finfo(centred.dtype).tiny
    return float((distance / centred.norm(dim=-1).clamp_min(tiny)).median())


def crosses_length(model: nn.Module, longest: int) -> bool:
    """Whether a sequence is longer than some length that the model's configuration names."""
    config = getattr(model, "config", None)
    return any(longest > length for length in _lengths(config.to_dict() if config else {}))


def _lengths(config: Mapping[str, Any]) -> Iterator[int]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _lengths(value)
        elif type(value) is int and value > 1 and any(word in str(key) for word in _LENGTH_WORDS):
            yield value


def _pieces(
    model: nn.Module, sequences: Sequence[Sequence[int]]
) -> tuple[Sequence[int], Sequence[int]]:
    shortest, longest = min(sequences, key=len), max(sequences, key=len)
    long = longest[-_LONG:]
    if len(shortest) == len(longest):
        return long, long
    if crosses_length(model, len(longest)):
        return shortest, longest
    return shortest[-max(1, min(_SHORT, len(long) // 2)) :], long


def _spread(length: int) -> list[int]:
    """Positions evenly over a length."""
    count = min(length, _POSITIONS)
    return [(2 * place + 1) * length // (2 * count) for place in range(count)]


def _others(ids: Sequence[int], pool: Sequence[int]) -> list[int]:
    """For each token another one, of those that occur."""
    known = [*dict.fromkeys(pool), 0, 1]
    found = []
    for place, token in enumerate(ids):
        turn = place % len(known)
        found.append(next(each for each in (*known[turn:], *known) if each != token))
    return found


def _logits(model: nn.Module, ids: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    device = input_device(model)
    places = torch.tensor(rows, device=device), torch.tensor(columns, device=device)
    return logits_at(model, ids.to(device), *places).float()
