"""The linear programme against every subset of few candidates."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from declutch.locating import programme as under_test
from declutch.locating.programme import Floats, Programme, rounded, solve


def drawn(
    seed: int, count: int, gains: int, costs: int, harmless: float | None = None
) -> Programme:
    """A random programme whose limits let about a third of the candidates in."""
    random = np.random.default_rng(seed)
    spent = np.vstack([np.ones(count), random.exponential(size=(costs - 1, count))])
    demands = np.ones(gains)
    if harmless is not None:
        demands[-1] = harmless
    return Programme(
        random.standard_t(3, size=(gains, count)), demands, spent, np.floor(spent.sum(axis=1) / 3)
    )


def allowed(programme: Programme, x: Floats, value: float) -> bool:
    """Whether a choice is within the limits and reaches every demand at a value."""
    gained, spent = programme.gains @ x, programme.costs @ x
    return bool(
        (gained >= programme.demands * value - 1e-6).all()
        and (spent <= programme.limits + 1e-6).all()
    )


def best_subset(programme: Programme) -> float:
    """The largest value of all whole choices, found by trying each."""
    values = [0.0]
    for bits in itertools.product([0.0, 1.0], repeat=programme.gains.shape[1]):
        x = np.array(bits)
        value = programme.smallest(x > 0)
        if value > 0 and allowed(programme, x, value):
            values.append(value)
    return max(values)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6), count=st.integers(1, 10), gains=st.integers(1, 4),
    costs=st.integers(1, 3), harmless=st.sampled_from([None, -1.0, 0.0, 0.5, 2.0]),
    step=st.sampled_from([1, 3, 5000]),
)  # fmt: skip
def test_the_whole_choice_is_the_best_of_all_subsets(
    seed: int, count: int, gains: int, costs: int, harmless: float | None, step: int
) -> None:
    programme = drawn(seed, count, gains, costs, harmless if gains > 1 else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(under_test, "_STEP", step)  # candidates come in so many at a time
        solution = solve(programme)
    best = best_subset(programme)
    assert solution.value >= best - 1e-6
    assert allowed(programme, solution.x, solution.value)
    partly = ((solution.x > 1e-6) & (solution.x < 1 - 1e-6)).sum()
    assert partly <= gains + costs  # a vertex
    # So few candidates are all chosen anew, so that nothing is lost by rounding but the gap.
    whole = rounded(programme, solution)
    assert max(programme.smallest(whole), 0) == pytest.approx(best, rel=2e-3, abs=1e-6)
    if best:
        assert allowed(programme, whole.astype(float), best * 0.998)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_prices_prove_the_optimum(seed: int) -> None:
    """Weak duality: what the prices make of the best choice is a bound, and it is reached."""
    programme = drawn(seed, 300, 3, 2, 0.5)
    solution = solve(programme)
    assert solution.gain_prices @ programme.demands == pytest.approx(1, abs=1e-6)
    worth = solution.gain_prices @ programme.gains - solution.limit_prices @ programme.costs
    bound = worth.clip(0).sum() + solution.limit_prices @ programme.limits
    assert solution.value == pytest.approx(bound, rel=1e-6)


def test_the_prices_say_what_a_limit_is_worth() -> None:
    programme = drawn(1, 2000, 3, 2)
    before = solve(programme)
    assert before.limit_prices[1] > 0
    more = Programme(
        programme.gains, programme.demands, programme.costs, programme.limits + np.array([0, 1])
    )
    assert solve(more).value - before.value == pytest.approx(before.limit_prices[1], rel=0.05)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), harmless=st.sampled_from([0.0, 1.0]))
def test_rounding_keeps_every_limit_and_loses_little(seed: int, harmless: float) -> None:
    programme = drawn(seed, 3000, 3, 2, harmless)
    solution = solve(programme)
    whole = rounded(programme, solution)
    assert allowed(programme, whole.astype(float), programme.smallest(whole))
    assert programme.smallest(whole) > 0.995 * solution.value


def test_nothing_to_gain_gives_nothing() -> None:
    programme = Programme(-np.ones((2, 5)), np.ones(2), np.ones((1, 5)), np.array([3.0]))
    solution = solve(programme)
    assert solution.value == 0
    assert not rounded(programme, solution).any()


def test_dimensions_that_pull_against_each_other_share_what_there_is() -> None:
    """Two candidates for each dimension, each of which the other pays for; one serves both."""
    gains = np.array([[3.0, 3.0, -1.0, -1.0, 1.0], [-1.0, -1.0, 3.0, 3.0, 1.0]])
    programme = Programme(gains, np.ones(2), np.ones((1, 5)), np.array([3.0]))
    solution = solve(programme)
    assert solution.value == pytest.approx(3)
    assert rounded(programme, solution).tolist().count(True) == 3
    assert solution.gain_prices.tolist() == pytest.approx([0.5, 0.5])
