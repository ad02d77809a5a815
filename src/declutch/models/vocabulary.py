"""Whether a tokenizer and a model belong together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from declutch.errors import ModelError


def fit_vocabulary(
    reference: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse a tokenizer that is not the model's.

    Added tokens without an embedding are common (transformers adds some itself) and harmless until
    one comes up; then the model raises an error that says so.

    Raises:
        ModelError: the tokenizer is empty, or has ordinary tokens that the model does not know.
    """
    ids = tokenizer.get_vocab()
    added = tokenizer.get_added_vocab()
    ordinary = {token: number for token, number in ids.items() if token not in added}
    if not ordinary:
        raise ModelError(
            f"The tokenizer of {reference} has no tokens: its files are missing or empty. Copy "
            "them (tokenizer.json or tokenizer.model, tokenizer_config.json) from the model that "
            "this one was made from."
        )
    embedding: Any = model.get_input_embeddings()
    rows = int(embedding.weight.shape[0])
    if max(ordinary.values()) >= rows:
        raise _unknown(reference, max(ordinary.values()), rows)
    # Also what a tokenizer puts around a text may have ids of its own.
    if max([*ids.values(), *tokenizer("a")["input_ids"]]) >= rows:
        embedding.register_forward_pre_hook(_refuse_unknown(reference, rows))


def _refuse_unknown(reference: str, rows: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def check(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor) and inputs[0].numel():
            largest = int(inputs[0].max())
            if largest >= rows:
                raise _unknown(reference, largest, rows)

    return check


def _unknown(reference: str, number: int, rows: int) -> ModelError:
    return ModelError(
        f"The tokenizer of {reference} does not fit the model: it gives a token the id {number:,}, "
        f"and the model knows {rows:,} tokens, from 0 on. Use the tokenizer that came with these "
        "weights; where tokens were added to it, enlarge the model for them, in Python: "
        "model.resize_token_embeddings(len(tokenizer)), and save both."
    )
