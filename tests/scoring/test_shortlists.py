"""Shortlists: order, ties at the cut, zeros, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from declutch.errors import FileFormatError, ModelError
from declutch.scoring import shortlists
from declutch.scoring.shortlists import Scores, make_shortlist


@pytest.mark.parametrize("part", [3, 7, 1 << 18])
def test_equal_scores_come_in_order_of_position(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlists, "_TOP_PART", part)
    generator = torch.Generator().manual_seed(0)
    for fraction in (0.05, 0.2, 0.5, 1.0):
        scores = torch.randint(0, 4, (6, 4), generator=generator).float()
        weight = torch.randn(6, 4, generator=generator)
        made = make_shortlist(scores, weight, fraction)
        flat = scores.reshape(-1).tolist()
        expected = sorted(range(24), key=lambda index: (-flat[index], index))
        assert made.indices.tolist() == expected[: len(made.indices)]
        assert made.scores.tolist() == [flat[index] for index in made.indices.tolist()]
        assert torch.equal(made.weights, weight.reshape(-1)[made.indices])


def test_a_neuron_that_scores_zero_is_not_important() -> None:
    scores = torch.zeros(6, 4)
    scores[2, 1] = 1.0
    made = make_shortlist(scores, torch.ones(6, 4), 0.5)
    assert made.top(5).tolist() == [9]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    scores = torch.ones(6, 4)
    scores[3, 3] = bad
    with pytest.raises(ModelError, match="not finite"):
        make_shortlist(scores, torch.ones(6, 4), 0.5)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="does not exist"):
        Scores.load(tmp_path / "nothing")
