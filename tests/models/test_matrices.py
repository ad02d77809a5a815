"""Weight matrices of many architectures: names, shapes, kinds, orientation, refusals."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from declutch.errors import MatrixNotFound, SettingsError
from declutch.models.matrices import (
    WeightMatrix,
    find_matrices,
    resolve,
    total_parameters,
)
from declutch.models.targets import target_filter
from tests.conftest import _COMMON, ARCHITECTURES, VOCABULARY, build_model

HIDDEN = 32
_OWN = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2}
_MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
MORE: dict[str, dict[str, Any]] = {
    "opt": {
        **_OWN,
        "ffn_dim": 48,
        "num_attention_heads": 4,
        "word_embed_proj_dim": 16,
        "max_position_embeddings": 64,
    },
    "bloom": {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "falcon": {**_OWN, "num_attention_heads": 4},
    "gptj": {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4},
    "qwen2_moe": {**_COMMON, **_MOE, "shared_expert_intermediate_size": 24},
    "qwen3_moe": {**_COMMON, **_MOE, "head_dim": 8},
    "deepseek_v3": {
        **_COMMON, **_MOE, "n_routed_experts": 4, "n_group": 1, "topk_group": 1,
        "first_k_dense_replace": 1, "n_shared_experts": 1, "num_key_value_heads": 4,
        "kv_lora_rank": 8, "q_lora_rank": 12, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8,
        "v_head_dim": 8,
    },
    "llama4_text": {
        **_COMMON, "num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size_mlp": 48,
        "head_dim": 8, "interleave_moe_layer_step": 1,
    },
    "mamba": {**_OWN, "state_size": 4},
    "jamba": {
        **_COMMON, "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2,
        "expert_layer_offset": 1, "num_experts": 4, "use_mamba_kernels": False,
        "mamba_d_state": 4,
    },
    "nemotron_h": {
        **_COMMON, "hybrid_override_pattern": "M*-", "num_hidden_layers": 3, "mamba_num_heads": 4,
        "mamba_head_dim": 8, "n_groups": 1, "ssm_state_size": 4, "head_dim": 8,
    },
    "recurrent_gemma": {**_COMMON, "lru_width": 32, "num_hidden_layers": 3, "head_dim": 8},
    "zamba2": {
        **_COMMON, "num_hidden_layers": 4, "mamba_d_state": 4, "mamba_ngroups": 1,
        "n_mamba_heads": 4, "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
        "num_mem_blocks": 1, "attention_head_dim": 16, "adapter_rank": 4,
    },
}  # fmt: skip
_ALL = [*ARCHITECTURES, *MORE]


def make(architecture: str) -> PreTrainedModel:
    if architecture in ARCHITECTURES:
        return build_model(architecture)
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, **MORE[architecture])
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.eval()
    return model


def last_names(matrices: tuple[WeightMatrix, ...], layer: int, kind: str) -> dict[str, Any]:
    """Shape of each matrix of a layer by the last part of its name, and experts counted."""
    found: dict[str, Any] = {}
    for matrix in matrices:
        if (matrix.layer, matrix.kind) == (layer, kind):
            name, _, expert = matrix.name.rpartition(".")[2].partition("[")
            label = f"{name}[{ARCHITECTURE_EXPERTS}]" if expert else name
            assert found.get(label, matrix.shape) == matrix.shape
            found[label] = matrix.shape
    return found


ARCHITECTURE_EXPERTS = 4
_LLAMA = (
    {"gate_proj": (48, 32), "up_proj": (48, 32), "down_proj": (32, 48)},
    {"q_proj": (32, 32), "k_proj": (16, 32), "v_proj": (16, 32), "o_proj": (32, 32)},
)
_NEOX = (
    {"dense_h_to_4h": (48, 32), "dense_4h_to_h": (32, 48)},
    {"query_key_value": (96, 32), "dense": (32, 32)},
)
_EXPERT = {"gate_up_proj[4]": (96, 32), "down_proj[4]": (32, 48)}
_SMALL_EXPERT = {"gate_up_proj[4]": (48, 32), "down_proj[4]": (32, 24)}
_SHARED = {"gate_proj": (24, 32), "up_proj": (24, 32), "down_proj": (32, 24)}
# Of the last layer: the MLP's matrices, and attention's.
EXPECTED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "llama": _LLAMA,
    "qwen2": _LLAMA,
    "mistral": _LLAMA,
    "gemma2": _LLAMA,
    "phi3": (
        {"gate_up_proj": (96, 32), "down_proj": (32, 48)},
        {"qkv_proj": (64, 32), "o_proj": (32, 32)},
    ),
    "gpt2": (
        {"c_fc": (128, 32), "c_proj": (32, 128)},
        {"c_attn": (96, 32), "c_proj": (32, 32)},
    ),
    "gpt_neox": _NEOX,
    "mixtral": (_EXPERT, _LLAMA[1]),
    "gpt_oss": (_EXPERT, _LLAMA[1]),
    "opt": (
        {"fc1": (48, 32), "fc2": (32, 48)},
        {"q_proj": (32, 32), "k_proj": (32, 32), "v_proj": (32, 32), "out_proj": (32, 32)},
    ),
    "bloom": ({"dense_h_to_4h": (128, 32), "dense_4h_to_h": (32, 128)}, _NEOX[1]),
    "falcon": (
        {"dense_h_to_4h": (128, 32), "dense_4h_to_h": (32, 128)},
        {"query_key_value": (48, 32), "dense": (32, 32)},
    ),
    "gptj": (
        {"fc_in": (128, 32), "fc_out": (32, 128)},
        {"q_proj": (32, 32), "k_proj": (32, 32), "v_proj": (32, 32), "out_proj": (32, 32)},
    ),
    "qwen2_moe": ({**_SMALL_EXPERT, **_SHARED}, _LLAMA[1]),
    "qwen3_moe": (_SMALL_EXPERT, _LLAMA[1]),
    "deepseek_v3": (
        {**_SMALL_EXPERT, **_SHARED},
        {
            "q_a_proj": (12, 32), "q_b_proj": (48, 12), "kv_a_proj_with_mqa": (12, 32),
            "kv_b_proj": (64, 8), "o_proj": (32, 32),
        },
    ),
    "llama4_text": (
        {**_EXPERT, "gate_proj": (48, 32), "up_proj": (48, 32), "down_proj": (32, 48)},
        _LLAMA[1],
    ),
    "mamba": ({}, {}),
    "jamba": (_EXPERT, _LLAMA[1]),
    "nemotron_h": ({"up_proj": (48, 32), "down_proj": (32, 48)}, {}),
    "recurrent_gemma": (
        {"gate_proj": (24, 32), "up_proj": (24, 32), "down_proj": (32, 24)}, _LLAMA[1]
    ),
}  # fmt: skip
ROUTED = ("mixtral", "gpt_oss", "qwen2_moe", "qwen3_moe", "deepseek_v3", "llama4_text", "jamba")
STATE_SPACE = ("mamba", "jamba", "nemotron_h", "recurrent_gemma", "zamba2")


@pytest.mark.parametrize("architecture", EXPECTED)
def test_names_and_shapes(architecture: str) -> None:
    matrices = find_matrices(make(architecture), "all").matrices
    last = max(matrix.layer for matrix in matrices)
    mlp, attention = EXPECTED[architecture]
    assert last_names(matrices, last, "mlp") == mlp
    assert last_names(matrices, last, "attention") == attention
    assert any(matrix.kind == "router" for matrix in matrices) == (architecture in ROUTED)
    assert any(matrix.kind == "other" for matrix in matrices) == (architecture in STATE_SPACE)
    assert len({matrix.name for matrix in matrices}) == len(matrices)


def test_llama_by_name() -> None:
    model = build_model("llama")
    names = [matrix.name for matrix in find_matrices(model, "mlp").matrices]
    assert names == [
        f"model.layers.{layer}.mlp.{name}"
        for layer in range(2)
        for name in ("gate_proj", "up_proj", "down_proj")
    ]
    assert len(find_matrices(model, "attention").matrices) == 8
    assert len(find_matrices(model, "all").matrices) == 14
    assert find_matrices(model, "all").layers == 2
    assert total_parameters(model) == sum(p.numel() for p in model.parameters())
    experts = find_matrices(build_model("mixtral"), "mlp").matrices
    assert len(experts) == 2 * 2 * 4
    assert experts[3].name == "model.layers.0.mlp.experts.gate_up_proj[3]"


@pytest.mark.parametrize("architecture", _ALL)
@pytest.mark.parametrize("target", ["mlp", "attention", "all"])
def test_nothing_is_silently_skipped(architecture: str, target: str) -> None:
    """Each parameter, under each of its names, is covered or listed with a reason."""
    model = make(architecture)
    if architecture == "mamba" and target != "all":
        with pytest.raises(SettingsError, match=r"covers no weight matrix.*mixer\.in_proj"):
            find_matrices(model, target)
        return
    coverage = find_matrices(model, target)
    assert all(entry.reason for entry in coverage.skipped)
    named = [matrix.name for matrix in coverage.matrices]
    named += [entry.parameter for entry in coverage.skipped]
    assert len(set(named)) == len(named)
    found = {name.partition("[")[0].removesuffix(".weight") for name in named}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    assert found == {name.removesuffix(".weight") for name in parameters}
    elements = coverage.numel + sum(prod(entry.shape) for entry in coverage.skipped)
    assert elements == sum(parameter.numel() for parameter in parameters.values())


@pytest.mark.parametrize("architecture", _ALL)
def test_views_are_out_by_in(architecture: str) -> None:
    """What goes into a linear module has the view's columns, what comes out its rows."""
    model = make(architecture)
    seen: dict[str, tuple[int, int]] = {}
    modules = dict(model.named_modules())
    for name, module in modules.items():

        def note(_: nn.Module, args: Any, output: Any, name: str = name) -> None:
            if args and isinstance(args[0], Tensor) and isinstance(output, Tensor):
                seen[name] = (output.shape[-1], args[0].shape[-1])

        module.register_forward_hook(note)
    model(input_ids=torch.arange(5, 25)[None], use_cache=False)
    parameters = dict(model.named_parameters())
    for matrix in find_matrices(model, "all").matrices:
        assert matrix.view(parameters[matrix.parameter]).shape == matrix.shape
        if matrix.expert is None and matrix.kind != "router" and matrix.module in seen:
            assert seen[matrix.module] == matrix.shape, matrix.name
        elif matrix.expert is not None and matrix.kind == "mlp":
            side = matrix.shape[0] if "down" in matrix.name else matrix.shape[1]
            assert side == HIDDEN, matrix.name


@pytest.mark.parametrize("architecture", ["mixtral", "gpt_oss", "qwen3_moe", "llama4_text"])
def test_a_row_of_an_expert_is_an_output(architecture: str) -> None:
    model = make(architecture)
    parameters = dict(model.named_parameters())
    downs = [m for m in find_matrices(model, "mlp").matrices if "experts.down_proj" in m.name]
    assert len(downs) == 8
    with torch.no_grad():
        for matrix in downs:
            matrix.view(parameters[matrix.parameter])[5] = 0.0
        for name, parameter in parameters.items():
            if name.endswith("_bias"):
                parameter.zero_()
    outputs: list[Tensor] = []
    experts = model.get_submodule("model.layers.1").get_submodule(
        downs[-1].module.removeprefix("model.layers.1.")
    )
    experts.register_forward_hook(lambda _m, _a, output: outputs.append(output))
    model(input_ids=torch.arange(5, 25)[None])
    assert (outputs[0].reshape(-1, HIDDEN)[:, 5] == 0).all()
    assert (outputs[0].reshape(-1, HIDDEN)[:, 6] != 0).any()


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_oss", "mixtral", "llama"])
def test_storage_index(architecture: str) -> None:
    model = make(architecture)
    parameters = dict(model.named_parameters())
    for matrix in find_matrices(model, "all").matrices:
        parameter = parameters[matrix.parameter].detach()
        indices = torch.arange(0, matrix.numel, 7)
        direct = matrix.view(parameter).reshape(-1)[indices]
        assert torch.equal(parameter.reshape(-1)[matrix.storage_index(indices)], direct)


# --- targets --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("down_proj", ["model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"]),
        (
            r"model\.layers\.1\.mlp\..*",
            [f"model.layers.1.mlp.{name}_proj" for name in ("gate", "up", "down")],
        ),
        ("q_proj|k_proj", [f"model.layers.{n}.self_attn.{m}_proj" for n in (0, 1) for m in "qk"]),
    ],
)  # fmt: skip
def test_regular_expressions(target: str, expected: list[str]) -> None:
    coverage = find_matrices(build_model("llama"), target)
    assert [matrix.name for matrix in coverage.matrices] == expected
    reasons = {entry.parameter: entry.reason for entry in coverage.skipped}
    assert reasons["model.layers.0.mlp.up_proj"] == "mlp: not in this target" or "up" in target


def test_an_expression_covers_all_experts_or_one() -> None:
    model = build_model("mixtral")
    assert len(find_matrices(model, "down_proj").matrices) == 8
    one = find_matrices(model, r".*layers\.1.*down_proj\[2\]").matrices
    assert [matrix.name for matrix in one] == ["model.layers.1.mlp.experts.down_proj[2]"]


def test_wrong_targets() -> None:
    model = build_model("llama")
    with pytest.raises(SettingsError, match=r"«down\(» is neither.*regular expression"):
        find_matrices(model, "down(")
    with pytest.raises(SettingsError, match=r"covers no weight matrix.*self_attn\.q_proj"):
        find_matrices(model, "down")
    with pytest.raises(SettingsError, match="covers no weight matrix"):
        find_matrices(model, "lm_head")
    assert not target_filter("mlp")("x", "router")


def test_resolve() -> None:
    model = build_model("gpt2")
    name = "transformer.h.1.mlp.c_fc"
    assert resolve(model, [name])[name].transposed
    with pytest.raises(MatrixNotFound, match=r"no weight matrix «h\.9».*8, for example"):
        resolve(model, ["h.9"])
