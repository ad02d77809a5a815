"""Perplexity on general text: whether the model still writes as it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from declutch.data.encoding import EncodedExample
from declutch.evaluation.results import Metric
from declutch.evaluation.results import perplexity as perplexity_metric
from declutch.evaluation.rows import finite, item_id, not_finite, number
from declutch.evaluation.suites import Passage
from declutch.progress import log

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class PerplexityRow:
    """One row of ``perplexity.jsonl``: summed NLL (nats) over the predicted tokens of a text."""

    set: str
    id: str
    nll: float
    tokens: int

    def as_json(self) -> dict[str, Any]:
        """The row as it stands in the file."""
        return {**asdict(self), "nll": finite(self.nll)}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> PerplexityRow:
        """What :meth:`as_json` made, read back."""
        return cls(row["set"], row["id"], number(row["nll"]), row["tokens"])


def passage_id(passage: Passage) -> str:
    """A passage's id, with a hash of its text."""
    return item_id(passage.id, passage.text)


def passage_nll(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    passages: Sequence[Passage],
    *,
    name: str = "general",
    max_length: int = 1024,
    max_tokens: int = 2048,
) -> list[PerplexityRow]:
    """The summed NLL of each passage on its own, as raw text.

    The tokenizer puts its BOS before it or not, as it always does; the first token is given, all
    others are predicted. A passage longer than ``max_length`` tokens is cut there; one of a
    single token is left out. Both are said.
    """
    from declutch.models.forward import response_logprobs
    from declutch.models.probes import must_be_alone

    encoded, kept, cut = [], [], 0
    for passage in passages:
        ids = tuple(tokenizer(passage.text)["input_ids"])
        cut += len(ids) > max_length
        ids = ids[:max_length]
        if len(ids) < 2:
            log.warning("Passage %s is too short to predict anything; left out.", passage.id)
            continue
        kept.append(passage)
        encoded.append(EncodedExample(ids, (False,) + (True,) * (len(ids) - 1)))
    if cut:
        log.warning("%d of %d passages were cut at %d tokens.", cut, len(passages), max_length)
    if not encoded:
        return []
    alone = must_be_alone(model, [each.input_ids for each in encoded])
    values = response_logprobs(model, encoded, max_tokens, "Measuring perplexity", alone=alone)
    return [
        PerplexityRow(name, passage_id(passage), -float(each.double().sum()), len(each))
        for passage, each in zip(kept, values, strict=True)
    ]


def perplexity_metrics(rows: Sequence[PerplexityRow], seed: int = 0) -> list[Metric]:
    """One perplexity for each set of passages: exp(Σ NLL / Σ tokens)."""
    metrics = []
    for name in dict.fromkeys(row.set for row in rows):
        own = [row for row in rows if row.set == name]
        tokens = sum(row.tokens for row in own)
        metrics.append(
            perplexity_metric(
                f"perplexity/{name}",
                [row.nll for row in own],
                [row.tokens for row in own],
                seed=seed,
                note=f"over {tokens} tokens of {len(own)} passages"
                + not_finite([row.id for row in own], [row.nll for row in own]),
            )
        )
    return metrics
