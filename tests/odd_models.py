"""Tiny models that are not what a causal language model is expected to be."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tests.conftest import VOCABULARY

_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_DYNAMIC = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 16,
}

# RoPE factors that follow the longest row of a batch, from 17 tokens on.
DYNAMIC, LONGROPE = "dynamic_ntk", "longrope"
# Without is_decoder, BERT and its like attend to both sides. Doge's experts are chosen from a
# table in which transformers mixes the tokens up.
BIDIRECTIONAL = ("bert", "roberta", "electra", "doge")
# In rwkv, recurrent_gemma and minimax transformers ignores the padding mask.

_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    DYNAMIC: ("llama", {**_COMMON, "max_position_embeddings": 16, "rope_parameters": _DYNAMIC}),
    LONGROPE: (
        "phi3",
        {**_COMMON, "rope_parameters": _LONGROPE, "original_max_position_embeddings": 16},
    ),
    "bert": ("bert", _COMMON),
    "roberta": ("roberta", _COMMON),
    "electra": ("electra", {**_COMMON, "embedding_size": 32}),
    "doge": (
        "doge",
        {**_COMMON, "num_key_value_heads": 2, "is_moe": True, "num_experts": 16,
         "num_experts_per_tok": 4},
    ),
    "rwkv": ("rwkv", {**_COMMON, "attention_hidden_size": 32, "context_length": 256}),
    "recurrent_gemma": (
        "recurrent_gemma",
        {**_COMMON, "num_key_value_heads": 2, "num_hidden_layers": 3, "lru_width": 32,
         "attention_window_size": 32, "tie_word_embeddings": False},
    ),
    "minimax": (
        "minimax",
        {**_COMMON, **_EXPERTS, "num_key_value_heads": 2, "head_dim": 8, "block_size": 16,
         "layer_types": ["linear_attention", "full_attention"]},
    ),
}  # fmt: skip


def build_odd(name: str, spread: float = 0.15, **changes: Any) -> PreTrainedModel:
    """One of them with random weights of that spread, in float32 and evaluation mode."""
    torch.manual_seed(0)
    architecture, settings = _CONFIGS[name]
    config = AutoConfig.for_model(architecture, **{**settings, **changes})
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, spread)
    model.eval()
    return model
