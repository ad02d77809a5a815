"""Tiny checkpoints on disk, as they come from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel

from tests.conftest import ARCHITECTURES, build_model, build_tokenizer
from tests.models.widths import in_dtype

SMALL_SHARDS = "20KB"
_VISION: dict[str, dict[str, Any]] = {
    "qwen3_5": {
        "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2,
        "out_hidden_size": 32, "patch_size": 4, "num_position_embeddings": 16,
        "deepstack_visual_indexes": [],
    },
    "mllama": {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_global_layers": 1, "attention_heads": 2, "image_size": 16, "patch_size": 4,
        "vision_output_dim": 32, "intermediate_layers_indices": [0],
    },
    "llama4": {
        "hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 16, "patch_size": 4, "vision_output_dim": 16,
        "projector_input_dim": 16, "projector_output_dim": 16,
    },
}  # fmt: skip
_TEXT: dict[str, dict[str, Any]] = {
    "qwen3_5": {
        "layer_types": ["full_attention"] * 2, "linear_num_key_heads": 2,
        "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    },
    "mllama": {"cross_attention_layers": []},
    "llama4": {"num_local_experts": 2, "intermediate_size_mlp": 48},
}  # fmt: skip
VISION_LANGUAGE = tuple(_VISION)


def write_model(
    folder: Path,
    architecture: str = "llama",
    dtype: torch.dtype = torch.bfloat16,
    shards: str = "50GB",
    **changes: Any,
) -> Path:
    """A causal language model and its tokenizer."""
    model = in_dtype(build_model(architecture, **changes), dtype)
    model.save_pretrained(folder, max_shard_size=shards)
    build_tokenizer().save_pretrained(folder)
    return folder


def write_vision_language(folder: Path, architecture: str) -> Path:
    """A model with a vision tower, which its causal class leaves out; bfloat16, in shards."""
    torch.manual_seed(0)
    text = {**ARCHITECTURES["qwen2"], "head_dim": 8, **_TEXT[architecture]}
    config = AutoConfig.for_model(
        architecture, text_config=text, vision_config=_VISION[architecture]
    )
    model: PreTrainedModel = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size=SMALL_SHARDS)
    build_tokenizer().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text("{}")
    return folder


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """Everything in a folder's safetensors files."""
    return {
        name: tensor
        for file in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }
