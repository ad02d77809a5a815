"""Scores made of plain numbers."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from declutch.data.names import CONTROL
from declutch.models.identity import MatrixInfo, ModelInfo
from declutch.patching import Patch
from declutch.scoring.shortlists import (
    DimensionInfo,
    Scores,
    ScoresInfo,
    Shortlist,
    control_shortlist,
    shortlist_length,
)

SHAPES = {
    "layers.0.mlp.up": (6, 4),
    "layers.0.attn.q": (4, 4),
    "layers.1.mlp.up": (6, 4),
    "layers.1.mlp.down": (4, 9),
}
DIMENSIONS = ("fairness", "privacy", "honesty", "general", "code")
Raw = dict[str, dict[str, list[int]]]  # dimension, matrix: the score of each position


def info_of(name: str) -> MatrixInfo:
    return MatrixInfo(
        shape=SHAPES[name],
        layer=int(name.split(".")[1]),
        kind="attention" if "attn" in name else "mlp",
    )


def weights_of(name: str) -> Tensor:
    rows, columns = SHAPES[name]
    return torch.arange(1.0, rows * columns + 1).view(rows, columns) / 7


def plain_shortlist(name: str, values: list[int], fraction: float) -> Shortlist:
    """The highest scores, equal ones in order of position."""
    order = sorted(range(len(values)), key=lambda position: (-values[position], position))
    kept = torch.tensor(order[: shortlist_length(len(values), fraction)])
    scores = torch.tensor(values, dtype=torch.float32)[kept]
    return Shortlist(kept, scores, weights_of(name).reshape(-1)[kept])


def make_scores(raw: Raw, fraction: float = 1.0, seed: int = 0) -> Scores:
    scores = Scores(
        ScoresInfo(
            model=ModelInfo(id="me/mine", fingerprint="0" * 64, dtype="float32"),
            settings={"target_modules": "all"},
            matrices={name: info_of(name) for name in SHAPES},
            versions={},
        )
    )
    for dimension, matrices in raw.items():
        fact = DimensionInfo(
            source="s", sha256=dimension, examples=1, tokens=2, counted_tokens=1, seconds=0.1
        )
        shortlists = {name: plain_shortlist(name, one, fraction) for name, one in matrices.items()}
        scores.add(dimension, fact, shortlists)
    scores.shortlists[CONTROL] = {
        name: control_shortlist(weights_of(name), fraction, seed, name) for name in SHAPES
    }
    return scores


@st.composite
def raw_scores(draw: st.DrawFn) -> Raw:
    """Few different values, so that most ranks are ties."""
    highest = draw(st.sampled_from([1, 3, 50]))
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    return {
        dimension: {
            name: generator.integers(0, highest, rows * columns, endpoint=True).tolist()
            for name, (rows, columns) in SHAPES.items()
        }
        for dimension in DIMENSIONS
    }


def selection_of(patch: Patch) -> dict[str, set[int]]:
    return {name: set(indices.tolist()) for name, indices in patch.indices.items()}


RATIOS = st.sampled_from(["0.07", "0.1", "0.25", "0.3", "0.5", "1.0"])


def numel(name: str) -> int:
    return SHAPES[name][0] * SHAPES[name][1]


def same_everywhere() -> Raw:
    """All dimensions agree, but for two that score nothing."""
    return {
        dimension: {
            name: [0 if dimension in ("general", "code") else n for n in range(numel(name))]
            for name in SHAPES
        }
        for dimension in DIMENSIONS
    }
