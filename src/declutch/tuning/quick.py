"""Cheap true measures of an edit: what forward passes over a fixed set show, without a reply.

They are measured on the edited model, not predicted from scores: margins of every dimension, the
loss on general text, how far the first tokens of harmless replies move (KL), and how likely the
model's own refusal openings are. On an aligned model margins alone mislead: what changes there is
how a reply begins.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from declutch.data.encoding import EncodedExample, Encoder, tokens_sha256
from declutch.data.example import Example
from declutch.measures.margin import both_responses
from declutch.models.forward import collate, evaluation_mode, input_device, logits_at
from declutch.models.forward import response_logprobs as logprobs
from declutch.models.probes import must_be_alone
from declutch.progress import quiet
from declutch.replies.store import ReplyRow
from declutch.replies.verdicts import REFUSED
from declutch.tuning.record import Change

Sort = Literal["harmful", "harmless"]
SORTS: tuple[Sort, ...] = ("harmful", "harmless")

_OPENING_TOKENS, _OPENINGS = 4, 3
_FIRST_TOKENS = 4
_PASSAGE_TOKENS = 128
_MAX_TOKENS = 1024  # of a batch: more leave the caches of a processor


@dataclass(frozen=True)
class QuickItems:
    """The fixed set.

    Attributes:
        pairs: by dimension, ``harmless`` among them where it is known.
        passages: of general text.
        replies: what the original model says to harmful and to harmless prompts.
    """

    pairs: Mapping[str, Sequence[Example]]
    passages: Sequence[str]
    replies: Mapping[Sort, Sequence[ReplyRow]]


@dataclass(frozen=True)
class Readings:
    """What one model shows on the set, item by item.

    Attributes:
        values: by measure; nats a token for margins and ``nll``, probabilities for ``opening/…``.
        first: log-probabilities ``[N, V]`` of the first tokens of harmless replies.
    """

    values: Mapping[str, NDArray[np.float64]]
    first: torch.Tensor


class QuickSet:
    """Reads a model on the fixed set, the same tokens each time.

    Args:
        judge: of manner; its verdicts tell which of the original's replies are refusals.
        model: the original. It tells whether examples must be read one at a time, and whether both
            sides are read in bfloat16.

    Raises:
        DataError: a pair can't be encoded.
        ModelError: the model is not causal.
    """

    def __init__(self, items: QuickItems, encoder: Encoder, judge: str, model: Any) -> None:
        self.openings = own_openings(items.replies["harmful"], encoder, judge)
        self._parts: dict[str, list[EncodedExample]] = {
            f"margin/{name}": [each for pair in pairs for each in both_responses(encoder, pair)]
            for name, pairs in items.pairs.items()
        }
        self._parts["nll"] = [
            _continued(ids[:1], ids[1:_PASSAGE_TOKENS])
            for ids in (encoder.tokenizer(text).input_ids for text in items.passages)
        ]
        for sort in SORTS:
            prompts = [encoder.encode_prompt(row.prompt) for row in items.replies[sort]]
            self._parts[f"opening/{sort}"] = [
                _continued(prompt, opening) for prompt in prompts for opening in self.openings
            ]
        self._first = [
            _continued(encoder.encode_prompt(row.prompt), begin)
            for row in items.replies["harmless"]
            if (begin := _begin(encoder, row, _FIRST_TOKENS))
        ]
        everything = [each for part in (*self._parts.values(), self._first) for each in part]
        self.tokens = sum(map(len, everything))  # that are read for a candidate
        self.sha256 = tokens_sha256(everything)
        self._alone = must_be_alone(model, [each.input_ids for each in everything])
        self._half = _fast_in_half(model)

    def read(self, model: Any) -> Readings:
        """All measures, item by item."""
        text, rest = self.steps(model)
        return Readings({**text.values, **rest.values}, rest.first)

    def steps(self, model: Any) -> Iterator[Readings]:
        """General text alone, which tells whether an edit is worth the rest; then the rest."""
        yield Readings(self._values(model, ["nll"]), torch.empty(0, 1))
        rest = [name for name in self._parts if name != "nll"]
        yield Readings(self._values(model, rest), self._first_tokens(model))

    def _context(self, model: Any) -> ExitStack:
        """How the set is read: without gradients, and in bfloat16 where that is fast."""
        stack = ExitStack()
        stack.enter_context(torch.no_grad())
        device = input_device(model).type
        stack.enter_context(torch.autocast(device, torch.bfloat16, enabled=self._half))
        stack.enter_context(quiet())
        return stack

    def _values(self, model: Any, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        parts = {name: self._parts[name] for name in names}
        flat = [each for part in parts.values() for each in part]
        with self._context(model):
            values = iter(logprobs(model, flat, _MAX_TOKENS, alone=self._alone))
            read = {n: [float(next(values).double().sum()) for _ in p] for n, p in parts.items()}
        found = {}
        for name, part in parts.items():
            sums = np.array(read[name], dtype=np.float64)
            counts = np.array([each.counted for each in part], dtype=np.float64)
            if name.startswith("margin/"):
                means = sums / counts
                found[name] = means[::2] - means[1::2]
            elif name == "nll":
                found[name] = -sums / counts
            elif self.openings:
                found[name] = np.exp(sums).reshape(-1, len(self.openings)).sum(axis=1)
        return found

    def _first_tokens(self, model: Any) -> torch.Tensor:
        if not self._first:
            return torch.empty(0, 1)
        size = 1 if self._alone else len(self._first)
        rows = []
        for start in range(0, len(self._first), size):
            batch = collate(self._first[start : start + size], input_device(model))
            with self._context(model), evaluation_mode(model):
                logits = logits_at(model, batch.input_ids, batch.rows, batch.columns)
            rows.append(torch.log_softmax(logits.float(), -1).cpu())
        return torch.cat(rows)


def changes(before: Readings, after: Readings) -> dict[str, Change]:
    """Each measure's change; ``kl`` in nats from the original to the edited model."""
    found = {
        name: _change(after.values[name] - old)
        for name, old in before.values.items()
        if name in after.values
    }
    if len(after.first):
        moved = (before.first.exp() * (before.first - after.first)).sum(-1)
        found["kl"] = _change(moved.double().numpy())
    return found


def own_openings(
    replies: Sequence[ReplyRow], encoder: Encoder, judge: str
) -> tuple[tuple[int, ...], ...]:
    """The commonest first tokens of a model's own refusals; none where it never refuses."""
    begins = Counter(
        _begin(encoder, row, _OPENING_TOKENS)
        for row in replies
        if row.verdicts[judge].verdict in REFUSED
    )
    del begins[()]
    return tuple(begin for begin, _ in begins.most_common(_OPENINGS))


def _begin(encoder: Encoder, row: ReplyRow, count: int) -> tuple[int, ...]:
    ids = encoder.tokenizer(row.shown.lstrip(), add_special_tokens=False).input_ids
    return tuple(ids[:count])


def _continued(prompt: Sequence[int], tokens: Sequence[int]) -> EncodedExample:
    mask = (False,) * len(prompt) + (True,) * len(tokens)
    return EncodedExample((*prompt, *tokens), mask)


def _change(values: NDArray[np.float64]) -> Change:
    if not len(values):
        return Change(0.0, 0.0)
    spread = float(values.std(ddof=1)) if len(values) > 1 else math.inf
    return Change(float(values.mean()), spread / math.sqrt(len(values)))


def _fast_in_half(model: Any) -> bool:
    """Whether float32 weights are read much faster in bfloat16 on this machine."""
    if next(model.parameters()).dtype != torch.float32:
        return False
    if input_device(model).type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())
