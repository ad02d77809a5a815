"""Weight matrices of modules that no library knows, tied weights, and blocks beside others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from declutch.errors import ModelError, SettingsError
from declutch.models.matrices import (
    decoder_blocks,
    find_matrices,
)
from declutch.models.targets import target_filter
from tests.conftest import build_model


class Block(nn.Module):
    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.mlp = mlp


class Model(nn.Module):
    def __init__(self, *mlps: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(mlp) for mlp in mlps)
        self.head = nn.Linear(8, 8, bias=False)


class Experts(nn.Module):
    """Stacked experts that don't say how they are stored."""

    def __init__(self, hidden: int, inner: int, transposed: bool) -> None:
        super().__init__()
        self.hidden_size = hidden
        up, down = (2 * inner, hidden), (hidden, inner)
        if transposed:
            up, down = up[::-1], down[::-1]
        self.gate_up_proj = nn.Parameter(torch.randn(3, *up))
        self.down_proj = nn.Parameter(torch.randn(3, *down))


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize(("hidden", "inner"), [(8, 6), (8, 4), (8, 8), (8, 16)])
def test_stacked_experts_without_a_declaration(hidden: int, inner: int, transposed: bool) -> None:
    """Also where one of the two is square: a module stores all its experts alike."""
    matrices = find_matrices(Model(Experts(hidden, inner, transposed)), "mlp").matrices
    assert {matrix.transposed for matrix in matrices} == {transposed}
    shapes = {matrix.name.partition("[")[0].rpartition(".")[2]: matrix.shape for matrix in matrices}
    assert shapes == {"gate_up_proj": (2 * inner, hidden), "down_proj": (hidden, inner)}


def test_grouped_matrices_with_features() -> None:
    """As in Aria before transformers 5: ``[group, in, out]`` with the sizes as attributes."""

    class Grouped(nn.Module):
        in_features, out_features = 6, 8

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 6, 8))

    (matrix, *_) = find_matrices(Model(Grouped()), "mlp").matrices
    assert (matrix.name, matrix.shape, matrix.transposed) == ("layers.0.mlp[0]", (8, 6), True)


def test_tied_weights() -> None:
    first, second, third = (nn.Linear(8, 8, bias=False) for _ in range(3))
    second.weight = first.weight
    model = Model(first, second, third)
    model.head.weight = third.weight
    coverage = find_matrices(model, "all")
    assert [matrix.name for matrix in coverage.matrices] == ["layers.0.mlp"]
    assert {entry.parameter: entry.reason for entry in coverage.skipped} == {
        "layers.1.mlp.weight": "the same as layers.0.mlp.weight",
        "layers.2.mlp.weight": "tied to head.weight",
        "head.weight": "outside the decoder blocks",
    }


def test_tied_embeddings_are_out() -> None:
    coverage = find_matrices(build_model("llama", tie_word_embeddings=True), "all")
    reasons = {entry.parameter: entry.reason for entry in coverage.skipped}
    for name in ("model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"):
        assert reasons[name] == "outside the decoder blocks"


def test_blocks_are_the_language_model_s() -> None:
    """A vision stack of another depth, and one of the same, are not taken."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vision_tower = Model(*(nn.Linear(64, 64) for _ in range(2)))
            self.text = Model(nn.Linear(8, 8), nn.Linear(8, 8))

    assert [name for name, _ in decoder_blocks(Both())] == ["text.layers.0", "text.layers.1"]
    with pytest.raises(ModelError, match=r"No decoder blocks.*Linear"):
        decoder_blocks(nn.Linear(3, 3))


@pytest.mark.parametrize("target", ["(", "a" * 3000, "[a" * 50, "(" * 1000, r"(\w|\w\w|\.)+[!?]"])
def test_an_expression_that_is_wrong_or_never_ends(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("declutch.models.targets._MATCH_SECONDS", 0.05)
    with pytest.raises(SettingsError, match="--target-modules"):
        target_filter(target)("model.layers.0.block_sparse_moe.experts.down_proj", "mlp")
