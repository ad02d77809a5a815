"""A tiny model of any family: its own config class, every size shrunk by the name it goes by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tests.conftest import VOCABULARY

HIDDEN = 32
# One size, by each of the names it has in one config or another.
_NAMES: dict[int, str] = {
    HIDDEN: "hidden_size d_model n_embd dim_model embedding_dim emb_dim lru_width "
    "attention_hidden_size embedding_size input_embedding_size output_embedding_size "
    "word_embed_proj_dim hidden_size_global backbone_hidden_size out_hidden_size "
    "adapter_in_dim adapter_out_dim projector_input_dim projector_output_dim ple_embed_dim "
    "adapter_input_size ext_pw_out_channel depthwise_separable_out_channel nemo_conv_channels",
    48: "intermediate_size intermediate_size_mlp ffn_dim decoder_ffn_dim encoder_ffn_dim d_inner "
    "ffn_hidden_size dim_ff dff d_ff feed_forward_size mlp_dim dense_intermediate_size",
    24: "moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size "
    "shared_experts_intermediate_size expert_ffn_hidden_size moe_shared_expert_intermediate_size",
    4: "num_attention_heads n_head n_heads num_heads decoder_attention_heads "
    "encoder_attention_heads attention_heads num_encoder_attention_heads swa_num_attention_heads "
    "num_decoder_attention_heads conf_num_attention_heads num_experts n_routed_experts "
    "num_local_experts moe_num_experts linear_num_value_heads linear_num_heads "
    "ssm_state_size state_size mamba_d_state index_n_heads laurel_rank "
    "adapter_rank rotary_dim index_topk zero_expert_num hc_lowrank "
    "router_hidden_size loop_gate_rank qk_rope_head_dim time_step_rank mamba_dt_rank",
    2: "num_key_value_heads num_kv_heads kv_n_heads swa_num_key_value_heads linear_num_key_heads "
    "num_query_groups num_experts_per_tok num_experts_per_token moe_topk moe_top_k moe_k "
    "attn_layer_period expert_layer_period n_groups o_groups upsample_groups index_block_size",
    8: "head_dim mamba_n_heads mamba_num_heads dim_head kv_channels "
    "attention_head_size d_head swa_head_dim "
    "qk_nope_head_dim v_head_dim kv_lora_rank q_lora_rank o_lora_rank linear_key_head_dim "
    "linear_value_head_dim linear_head_dim index_head_dim mamba_d_head mamba_head_dim d_kv "
    "hidden_size_per_layer_input sliding_window sliding_window_size attention_chunk_size "
    "attention_window_size local_attention local_attention_window_len chunk_size "
    "mamba_chunk_size block_size window_size block_multiple_of num_filters "
    "ffn_round_up_to_multiple_of codebook_dim",
    1: "n_group topk_group num_expert_group n_shared_experts num_shared_experts "
    "moe_num_shared_experts first_k_dense_replace moe_layer_start_index moe_layer_end_index "
    "attn_layer_offset expert_layer_offset num_dense_layers mamba_n_groups "
    "num_nextn_predict_layers",
    12: "qk_head_dim",
    64: "mamba_d_ssm",
    VOCABULARY: "vocab_size vocab_size_per_layer_input audio_vocab_size decoder_vocab_size "
    "encoder_hash_byte_group_vocab ngram_vocab_size_base unpadded_vocab_size",
    128: "max_position_embeddings n_positions n_ctx max_seq_len context_length "
    "max_target_positions model_max_length",
}  # fmt: skip
_SIZES = {name: size for size, names in _NAMES.items() for name in names.split()}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_DEPTHS = (
    "num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers",
    "num_blocks", "num_decoder_layers", "num_encoder_layers", "depth", "num_layers_per_stack",
    "n_input_layers", "n_recurrent_layers", "n_output_layers",
)  # fmt: skip
# What a config would take from another size, or needs and leaves open.
_NEEDED = (
    "head_dim", "num_key_value_heads", "num_experts_per_tok", "n_routed_experts",
    "n_shared_experts",
)  # fmt: skip
# What a name alone does not tell.
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_DOTS3 = {
    "num_key_value_heads": 4,
    "per_layer_config": {
        2: {
            "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 12, "q_lora_rank": 8,
            "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8,
        }
    },
}  # fmt: skip
_INDEXER = {
    "indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 8,
    "indexer_compress_ratio": 4,
}  # fmt: skip
_OVERRIDES: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}
    },
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "kv_n_heads": 2, "clip_qkv": 8.0}},
    "dory": {
        "num_hidden_layers": 6,
        "layer_types": ["sliding_attention", "full_attention"] * 3,
    },
    "dots3_note": {"text_config": _DOTS3},
    "dots3_note_text": _DOTS3,
    "gemma3n_text": {
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
        "intermediate_size": [48] * 4,
        "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
    },
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 8},
    "qwen4_exp": {"text_config": _INDEXER},
    "qwen4_exp_text": _INDEXER,
    "reformer": {
        "is_decoder": True,
        "attn_layers": ["local", "lsh"],
        "axial_pos_shape": [8, 16],
        "axial_pos_embds_dim": [8, 24],
        "hash_seed": 0,
    },
    "roc_bert": {"pronunciation_vocab_size": 64, "shape_vocab_size": 64},
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
    },
    "zamba2": {
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "hybrid_layer_ids": [1, 3],
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "n_mamba_heads": 8,
        "mamba_headdim": 8,
    },
    "zaya": {"num_experts_per_tok": 1},
}


# A family in another of its forms.
_VARIANTS: dict[str, dict[str, Any]] = {
    "bert, as a decoder": {"is_decoder": True},
    "cohere, norms of queries and keys": {"use_qk_norm": True},
    "doge, mixture of experts": {"is_moe": True, "num_experts": 16, "keep_window_size": 8},
    "llama, dynamic NTK": {
        "max_position_embeddings": 8,
        "rope_parameters": {**_ROPE, "rope_type": "dynamic", "factor": 4.0},
    },
    "phi3, longrope across its switch": {
        "original_max_position_embeddings": 8,
        "rope_parameters": {
            **_ROPE,
            "rope_type": "longrope",
            "short_factor": [1.0] * 4,
            "long_factor": [1.0, 2.0, 4.0, 8.0],
            "original_max_position_embeddings": 8,
        },
    },
    "xlm, causal": {"causal": True},
}


def all_families() -> list[str]:
    """Every family of causal models that transformers has, and the variants."""
    return sorted([*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *_VARIANTS])


def tiny_config(name: str) -> PreTrainedConfig:
    """The config of a family, with a few layers of each kind that its default has."""
    family = name.partition(",")[0]
    config_class = CONFIG_MAPPING[family]
    overrides = {**_OVERRIDES.get(family, {}), **_VARIANTS.get(name, {})}
    return config_class(**_shrunk(config_class(), overrides))


def tiny_family(name: str, seed: int = 0) -> PreTrainedModel:
    """A tiny model in float32, evaluation mode, the same for a seed."""
    torch.manual_seed(seed)
    config = tiny_config(name)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    # The usual initialisation is so small that all scores would be near rounding, and gates
    # that begin at zero would hide what is behind them.
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn_like(parameter) * 0.15
            parameter.copy_(noise if parameter.ndim > 1 else parameter + noise)
    model.eval()
    return model


def _shrunk(default: PreTrainedConfig, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that make the default config small."""
    values = {name: value for name, value in vars(default).items() if value is not None}
    values |= {name: 1 for name in _NEEDED if vars(default).get(name, 1) is None}
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, PreTrainedConfig):
            arguments[name] = _shrunk(value, overrides.get(name, {}))
        elif name in _TOKENS:
            arguments[name] = _TOKENS[name]
        elif name in _SIZES and isinstance(value, int) and not isinstance(value, bool) and value:
            arguments[name] = _SIZES[name]
        elif name in _DEPTHS:
            arguments[name] = 2
    if "kv_lora_rank" in values:  # keys of all heads, of two parts
        arguments |= {"num_key_value_heads": 4, "head_dim": arguments.get("qk_rope_head_dim", 8)}
    given = {name: value for name, value in overrides.items() if name not in _nested(values)}
    return arguments | _layers(values, arguments) | given


def _nested(values: Mapping[str, Any]) -> set[str]:
    return {name for name, value in values.items() if isinstance(value, PreTrainedConfig)}


def _layers(values: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The lists with an entry a layer, cut to one layer of each kind, and the depth to fit."""
    depth_name = next((name for name in _DEPTHS if name in arguments), None)
    if depth_name is None:
        return {}
    depth = values[depth_name]
    lists = {
        name: value
        for name, value in values.items()
        if isinstance(value, list | tuple) and len(value) == depth and name != "moe_layers"
    }
    kinds = list(zip(*(value for name, value in lists.items() if "type" in name), strict=True))
    first = sorted({kinds.index(kind) for kind in kinds}) or [0, 1]
    if len(first) == 1:
        first = [first[0], first[0] + 1]
    cut: dict[str, Any] = {name: [value[index] for index in first] for name, value in lists.items()}
    for name in cut:
        size = _SIZES.get(name.removesuffix("_per_layer"))
        if size:
            cut[name] = [size] * len(first)
    return {**cut, depth_name: len(first)}
