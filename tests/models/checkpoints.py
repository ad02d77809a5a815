"""Tiny checkpoints on disk, as they come from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
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


def write_gguf(path: Path, kind: str = "F32") -> dict[str, Any]:
    """A tiny Llama with a tokenizer, matrices of a quantisation; what its tensors were before."""
    gguf = pytest.importorskip("gguf")
    quantisation = gguf.GGMLQuantizationType[kind]
    generator = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(8)
    writer.add_vocab_size(64)
    tokens = ["<unk>", "<s>", "</s>", *(chr(code) for code in range(64, 124))]
    tokens += [f"t{number}" for number in range(64 - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    tokens[-1] = "ab"
    writer.add_token_list(tokens)
    writer.add_token_merges(["a b"])
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    shapes = {"token_embd": (64, 32), "output": (64, 32), "output_norm": (32,)}
    for layer in range(2):
        shapes |= {
            f"blk.{layer}.{name}": shape
            for name, shape in {
                "attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32),
                "attn_output": (32, 32), "ffn_gate": (64, 32), "ffn_up": (64, 32),
                "ffn_down": (32, 64), "attn_norm": (32,), "ffn_norm": (32,),
            }.items()
        }  # fmt: skip
    tensors = {}
    for name, shape in shapes.items():
        tensors[name] = generator.normal(size=shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", tensors[name])
        else:
            data = gguf.quantize(tensors[name], quantisation)
            writer.add_tensor(f"{name}.weight", data, raw_dtype=quantisation)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors
