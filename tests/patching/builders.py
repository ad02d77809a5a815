"""Patches of random positions, and what a model's weights are, bit by bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from declutch.models.identity import MatrixInfo, describe
from declutch.models.matrices import find_matrices
from declutch.patching import Patch, PatchInfo
from declutch.scoring.shortlists import Shortlist

ARCHITECTURES = ("llama", "gpt2", "mixtral", "gpt_oss")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def bits(model: PreTrainedModel) -> dict[str, Tensor]:
    """Every parameter's bits."""
    return {
        name: parameter.detach().clone().contiguous().view(torch.uint8)
        for name, parameter in model.named_parameters()
    }


def same_bits(model: PreTrainedModel, before: Mapping[str, Tensor]) -> bool:
    after = bits(model)
    return after.keys() == before.keys() and all(
        torch.equal(after[name], one) for name, one in before.items()
    )


def make_patch(
    model: PreTrainedModel, scale: float = 0.0, seed: int = 0, each: int = 5,
    only: str = "", **facts: Any,
) -> Patch:  # fmt: skip
    """A patch of random positions in every matrix of a model."""
    generator = np.random.default_rng(seed)
    parameters = dict(model.named_parameters())
    matrices = find_matrices(model, "all").matrices
    selection, shortlists = {}, {}
    for matrix in matrices:
        flat = matrix.view(parameters[matrix.parameter].detach()).reshape(-1)
        chosen = torch.from_numpy(generator.permutation(matrix.numel)[: 2 * each])
        shortlists[matrix.name] = Shortlist(chosen, torch.zeros(len(chosen)), flat[chosen].clone())
        if only in matrix.name and each:
            selection[matrix.name] = chosen[:each].numpy()
    info = PatchInfo(
        model=describe(model, "me/mine"), rule="coupled", ratio=1e-4, scale=scale,
        coupled=("fairness", "privacy"), excluded=("general",), target_modules="all",
        matrices={
            one.name: MatrixInfo(shape=one.shape, layer=one.layer, kind=one.kind)
            for one in matrices
        },
        **facts,
    )  # fmt: skip
    return Patch.from_selection(info, selection, {"fairness": shortlists})


def values_of(model: PreTrainedModel, patch: Patch) -> dict[str, Tensor]:
    parameters = dict(model.named_parameters())
    return {
        matrix.name: matrix.view(parameters[matrix.parameter].detach())
        .reshape(-1)[patch.indices[matrix.name]]
        .clone()
        for matrix in find_matrices(model, "all").matrices
        if matrix.name in patch.indices
    }


def changed(model: PreTrainedModel, name: str, step: float = 1.0, at: int = -1) -> None:
    with torch.no_grad():
        model.get_parameter(name).view(-1)[at] += step
