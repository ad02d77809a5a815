"""Kinds of modules whose names say nothing, or say it of something else; what is no matrix."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from declutch.models.matrices import Coverage, find_matrices
from tests.families.tiny import tiny_family


def of_kind(coverage: Coverage, kind: str) -> set[str]:
    """Last two parts of the names of a kind, experts as one."""
    return {
        ".".join(matrix.name.partition("[")[0].split(".")[-2:])
        for matrix in coverage.matrices
        if matrix.kind == kind
    }


@pytest.mark.parametrize(
    ("family", "mlp"),
    [
        ("gemma3n_text", {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}),
        ("gemma4_text", {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}),
        ("xlstm", {"ffn.proj_up", "ffn.proj_up_gate", "ffn.proj_down"}),
        ("zamba", {f"feed_forward.{name}_proj" for name in ("gate", "up", "down")}),
        # A norm's own, and connections around the MLP, are named after it.
        (
            "axk2",
            {
                f"{of}.{name}_proj"
                for of in ("mlp", "shared_experts", "experts")
                for name in ("gate", "up", "down", "gate_up")
            }
            - {"mlp.gate_up_proj", "shared_experts.gate_up_proj"}
            - {"experts.gate_proj", "experts.up_proj"},
        ),
        (
            "deepseek_v4",
            {"experts.gate_up_proj", "experts.down_proj"}
            | {f"shared_experts.{name}_proj" for name in ("gate", "up", "down")},
        ),
        # No name says anything, nor does a class that begins with «PreLayerNorm».
        ("opt", {"N.fc1", "N.fc2"}),
        ("roberta-prelayernorm", {"intermediate.dense", "output.dense"}),
    ],
)
def test_the_default_target_is_the_mlp(family: str, mlp: set[str]) -> None:
    coverage = find_matrices(tiny_family(family), "mlp")
    found = {name if not name[0].isdigit() else f"N{name[1:]}" for name in of_kind(coverage, "mlp")}
    assert found == mlp


def test_what_is_beside_the_mlp_stays_in_all() -> None:
    assert of_kind(find_matrices(tiny_family("gemma3n_text"), "all"), "other") == {
        "altup.correction_coefs", "altup.prediction_coefs", "laurel.linear_left",
        "laurel.linear_right", "0.per_layer_input_gate", "1.per_layer_input_gate",
        "2.per_layer_input_gate", "3.per_layer_input_gate", "0.per_layer_projection",
        "1.per_layer_projection", "2.per_layer_projection", "3.per_layer_projection",
    }  # fmt: skip
    assert of_kind(find_matrices(tiny_family("deepseek_v4"), "all"), "other") == {
        "attn_hc.fn", "ffn_hc.fn",
    }  # fmt: skip


def test_a_router_in_attention() -> None:
    coverage = find_matrices(tiny_family("jetmoe"), "all")
    routers = {matrix.name for matrix in coverage.matrices if matrix.kind == "router"}
    assert "model.layers.0.self_attention.experts.router.layer" in routers
    assert "self_attention.kv_proj" in of_kind(coverage, "attention")


def test_scales_of_each_head_are_no_matrices() -> None:
    coverage = find_matrices(tiny_family("cohere, norms of queries and keys"), "all")
    reasons = {entry.parameter: (entry.shape, entry.reason) for entry in coverage.skipped}
    scale = "a scale, not a matrix"
    assert reasons["model.layers.0.self_attn.q_norm.weight"] == ((4, 8), scale)
    assert reasons["model.layers.1.self_attn.k_norm.weight"] == ((2, 8), scale)
    assert all("norm" not in matrix.name for matrix in coverage.matrices)
    for entry in find_matrices(tiny_family("inkling2_text"), "all").skipped:
        if entry.parameter.endswith("norm.scale"):
            assert entry.reason == scale


def test_a_row_of_a_gate_is_an_output() -> None:
    """RecurrentGemma's: one row set to zero silences one output of its block."""
    model = tiny_family("recurrent_gemma")
    matrix = next(
        one
        for one in find_matrices(model, "all").matrices
        if one.name == "model.layers.0.temporal_block.rg_lru.input_gate_weight[1]"
    )
    gates: Any = model.get_submodule(matrix.module)
    x = torch.randn(1, 6, gates.num_attention_heads * gates.block_width)
    positions = torch.arange(6)[None]

    def outputs() -> Tensor:
        gates.recurrent_states = None
        with torch.no_grad():
            found: Tensor = gates(x, positions)
        return found

    before = outputs()
    with torch.no_grad():
        matrix.view(gates.input_gate_weight)[5] = 0.0
    changed = (outputs() != before).any(dim=(0, 1)).nonzero().flatten().tolist()
    assert changed == [gates.block_width + 5]


def test_reasons() -> None:
    reasons = {}
    for family in ("gpt_oss", "mamba", "qwen2_moe", "gpt2"):
        for entry in find_matrices(tiny_family(family), "all").skipped:
            reasons[entry.parameter.rpartition(".0.")[2]] = entry.reason
    assert reasons["mlp.experts.gate_up_proj_bias"] == "a bias"
    assert reasons["mixer.A_log"] == "a state, not a linear map"
    assert reasons["mixer.conv1d.weight"] == "a convolution"
    assert reasons["mlp.shared_expert_gate.weight"] == "one row or column, not a matrix"
    assert reasons["ln_1.weight"] == "1-D, not a matrix"
    assert reasons["attn.c_attn.bias"] == "a bias"


class Attending(nn.Module):
    """A decoder block of PyTorch's own parts."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp = nn.Linear(8, 8)


def test_pytorch_s_attention_is_not_quantised() -> None:
    model = nn.Module()
    model.layers = nn.ModuleList(Attending() for _ in range(2))
    coverage = find_matrices(model, "all")
    assert [(one.name, one.kind, one.shape) for one in coverage.matrices[:3]] == [
        ("layers.0.self_attn.in_proj_weight", "attention", (24, 8)),
        ("layers.0.self_attn.out_proj", "attention", (8, 8)),
        ("layers.0.mlp", "mlp", (8, 8)),
    ]
