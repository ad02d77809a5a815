"""Margins and perplexities as they are kept in an evaluation's folder, and used again from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from declutch.data.encoding import Encoder
from declutch.data.example import Example
from declutch.evaluation.margin import MarginRow, margins
from declutch.evaluation.perplexity import PerplexityRow, passage_id, passage_nll
from declutch.evaluation.store import kept_rows
from declutch.evaluation.suites import Passage, pair_id
from declutch.files import write_jsonl

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_PASSAGES = "general"


def kept_margins(
    model: PreTrainedModel,
    encoder: Encoder,
    pairs: Mapping[str, Sequence[Example]],
    directory: Path | None,
) -> list[MarginRow]:
    """The margin of each pair, measured unless the folder holds just these."""
    ids = [f"{name}/{pair_id(pair)}" for name, own in pairs.items() for pair in own]
    kept = kept_rows(directory, "margins.jsonl", ids)
    if kept:
        return [MarginRow.of(row) for row in kept]
    rows = margins(model, encoder, pairs)
    if directory is not None:
        write_jsonl(directory / "margins.jsonl", [row.as_json() for row in rows])
    return rows


def kept_passages(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    passages: Sequence[Passage],
    directory: Path | None,
    max_length: int,
) -> list[PerplexityRow]:
    """The NLL of each passage, measured unless the folder holds just these."""
    ids = [f"{_PASSAGES}/{passage_id(passage)}" for passage in passages]
    kept = kept_rows(directory, "perplexity.jsonl", ids)
    if kept:
        return [PerplexityRow.of(row) for row in kept]
    rows = passage_nll(model, tokenizer, passages, name=_PASSAGES, max_length=max_length)
    if directory is not None:
        write_jsonl(directory / "perplexity.jsonl", [row.as_json() for row in rows])
    return rows
