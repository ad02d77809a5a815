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


@pytest.mark.parametrize("levels", [2, 50, 10**6])
@pytest.mark.parametrize("part", [1000, 1 << 18])
def test_the_top_of_a_large_matrix(levels: int, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlists, "_TOP_PART", part)
    generator = torch.Generator().manual_seed(levels)
    scores = torch.randint(0, levels, (200, 122), generator=generator).float()
    scores[:, 61] *= 100  # a few inputs far above the others, as real scores have
    by_rank = (-scores.reshape(-1)).argsort(stable=True)
    for fraction in (1e-3, 0.02, 0.4):
        made = make_shortlist(scores, scores, fraction)
        assert torch.equal(made.indices, by_rank[: len(made.indices)])


def test_scores_above_a_bound_hold_the_top_or_are_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # All but a few at the places that the sample sees: its bound is too high for the others.
    scores = torch.zeros(61 * 400)
    scores[::61] = torch.arange(400).float() + 1
    assert shortlists._candidates(scores, 100) is None
    assert shortlists._top(scores, 100).tolist() == [61 * (300 + n) for n in range(100)]
    # Nearly all of them equal: the bound leaves too many.
    equal = torch.ones(61 * 4000)
    assert shortlists._candidates(equal, 10) is None
    assert shortlists._top(equal, 10).tolist() == list(range(10))
    random = torch.rand(61 * 400, generator=torch.Generator().manual_seed(0))
    found = shortlists._candidates(random, 100)
    assert found is not None
    assert 100 <= len(found) < 1000


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
