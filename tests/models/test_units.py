"""Units of every family against the loss itself: with one way out open, one unit acts alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.func import functional_call
from transformers import PreTrainedModel

from declutch.models.matrices import find_matrices
from declutch.models.units import Block, find_blocks
from tests.families.page import read_page
from tests.families.tiny import all_families, tiny_family

# Fused, head by head or in blocks; stacked experts, in turn or transposed; low-rank keys.
FEW = ("aria_text", "codegen", "deepseek_v2", "falcon", "gpt_bigcode", "gpt_oss", "jetmoe", "phi3")
# What has none that can be told (docs/granularity.md).
NONE = {
    "neuron": {"bitnet", "dbrx", "dory", "falcon_mamba", "mamba", "mamba2", "reformer"},
    "head": {
        "bitnet", "deepseek_v4", "diffllama", "dory", "falcon_mamba", "flex_olmo", "jetmoe",
        "mamba", "mamba2", "minimax_m2", "olmo2", "olmo3", "olmoe", "recurrent_gemma", "reformer",
        "rwkv", "xlm", "xlm, causal", "xlnet", "xlstm", "zaya",
    },
}  # fmt: skip


def wrong_rows(model: PreTrainedModel, block: Block, unit: int) -> tuple[int, int]:
    """Of the rows that belong to units: how many act and are another's, and how many act."""
    matrices = {one.name: one for one in find_matrices(model, "all").matrices}
    parameters = dict(model.named_parameters())
    *firsts, last = block.lines
    way_out = parameters[matrices[last.matrix].parameter].detach().clone()
    closed = torch.from_numpy(last.owners != unit)
    matrices[last.matrix].view(way_out)[:, closed] = 0
    weights = [parameters[matrices[one.matrix].parameter] for one in firsts]
    ids = torch.arange(7, 47)[None]
    logits = functional_call(
        model,
        {matrices[last.matrix].parameter: way_out},
        kwargs={"input_ids": ids, "use_cache": False},
    ).logits
    loss = torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    wrong = right = 0
    for line, gradient in zip(firsts, gradients, strict=True):
        if gradient is None:
            continue
        acts = (matrices[line.matrix].view(gradient) != 0).any(dim=1).numpy()
        owned = line.owners >= 0
        wrong += int(np.count_nonzero(acts & owned & (line.owners != unit)))
        right += int(np.count_nonzero(acts & (line.owners == unit)))
    return wrong, right


def check(family: str) -> None:
    if read_page().get(family, ("",))[-1] == "untried":
        pytest.skip("transformers does not build or run it from a config and token ids alone")
    model = tiny_family(family)
    model.requires_grad_(True)
    matrices = find_matrices(model, "all").matrices
    for granularity in ("neuron", "head"):
        blocks, _ = find_blocks(model, granularity, matrices)
        assert bool(blocks) == (family not in NONE[granularity])
        acting = 0
        for block in blocks:
            wrong, right = wrong_rows(model, block, block.units // 2)
            assert not wrong, (granularity, block.name)
            acting += right
        assert acting or not blocks


@pytest.mark.parametrize("family", FEW)
def test_units_of_a_few_families(family: str) -> None:
    check(family)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(set(all_families()) - set(FEW)))
def test_units_of_a_family(family: str) -> None:
    check(family)
