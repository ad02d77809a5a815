"""Dependence measures against their definitions, closed forms and known invariances."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from declutch.measures.dependence import hsic

Floats = NDArray[np.float64]


def sample(n: int, features: int, seed: int) -> Floats:
    return np.random.default_rng(seed).standard_normal((n, features))


def unbiased_by_definition(first: Floats, second: Floats) -> float:
    """The U-statistic: sums over pairs, triples and quadruples of different items."""
    n = len(first)
    pairs = list(itertools.permutations(range(n), 2))
    triples = list(itertools.permutations(range(n), 3))
    fours = list(itertools.permutations(range(n), 4))
    one = np.mean([first[i, j] * second[i, j] for i, j in pairs])
    two = np.mean([first[i, j] * second[q, r] for i, j, q, r in fours])
    three = np.mean([first[i, j] * second[i, q] for i, j, q in triples])
    return float(one + two - 2 * three)


@pytest.mark.parametrize("gram", [hsic.gaussian_gram, hsic.linear_gram])
def test_unbiased_is_the_u_statistic(gram: type) -> None:
    first, second = gram(sample(7, 3, 0)), gram(sample(7, 2, 1))
    assert hsic.hsic(first, second) == pytest.approx(unbiased_by_definition(first, second))


def test_biased_is_the_trace_formula_and_linear_is_the_cross_covariance() -> None:
    x, y = sample(9, 3, 0), sample(9, 2, 1)
    first, second = hsic.linear_gram(x), hsic.linear_gram(y)
    centring = np.eye(9) - 1 / 9
    trace = np.trace(first @ centring @ second @ centring) / 8**2
    assert hsic.hsic(first, second, "biased") == pytest.approx(trace)
    # With linear kernels HSIC is the squared norm of the cross-covariance.
    cross = (x - x.mean(0)).T @ (y - y.mean(0)) / 8
    assert trace == pytest.approx((cross**2).sum())


def test_gaussian_gram_is_its_formula_with_the_median_distance() -> None:
    x = sample(6, 3, 2) + 100
    distances = np.array([[np.linalg.norm(a - b) for b in x] for a in x])
    median = np.median([distances[i, j] for i in range(6) for j in range(i)])
    expected = np.exp(-(distances**2) / (2 * median**2))
    assert hsic.gaussian_gram(x) == pytest.approx(expected)
    assert hsic.gaussian_gram(x * 7) == pytest.approx(expected)
    assert hsic.gaussian_gram(x, 2.0) == pytest.approx(np.exp(-(distances**2) / 8))


def test_rows_that_are_mostly_the_same() -> None:
    x = np.zeros((5, 2))
    x[4] = 1
    gram = hsic.gaussian_gram(x)
    assert gram[0].tolist() == [1, 1, 1, 1, 0]
    assert hsic.alignment(hsic.linear_gram(np.zeros((5, 2))), gram) == 0


def test_unbiased_is_near_zero_for_independent_samples_and_biased_is_not() -> None:
    found = {"unbiased": [], "biased": []}  # type: dict[str, list[float]]
    for seed in range(200):
        x, y = sample(20, 30, seed), sample(20, 30, 1000 + seed)
        first, second = hsic.gaussian_gram(x), hsic.gaussian_gram(y)
        found["unbiased"].append(hsic.hsic(first, second))
        found["biased"].append(hsic.hsic(first, second, "biased"))
    values = np.array(found["unbiased"])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(200)
    assert min(found["biased"]) > 10 * abs(values.mean())
    same = hsic.gaussian_gram(sample(20, 30, 0))
    assert hsic.hsic(same, same) > 5 * values.max()
    assert hsic.alignment(same, same) == pytest.approx(1)


def test_expected_biased_is_the_mean_over_all_pairings() -> None:
    first, second = hsic.gaussian_gram(sample(5, 4, 0)), hsic.gaussian_gram(sample(5, 4, 1))
    orders = [list(order) for order in itertools.permutations(range(5))]
    values = [hsic.hsic(first, second[np.ix_(order, order)], "biased") for order in orders]
    assert hsic.expected_biased(first, second) == pytest.approx(np.mean(values))


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_cka_is_blind_to_rotation_and_scale(estimator: hsic.Estimator) -> None:
    x, y = sample(12, 5, 0), sample(12, 5, 1)
    y[:, 0] += x[:, 0]
    rotation, _ = np.linalg.qr(sample(5, 5, 2))
    cka = hsic.alignment(hsic.linear_gram(x), hsic.linear_gram(y), estimator)
    turned = hsic.linear_gram(3.7 * y @ rotation - 2)
    assert hsic.alignment(hsic.linear_gram(x), turned, estimator) == pytest.approx(cka)
    stretched = hsic.linear_gram(y * np.array([9, 1, 1, 1, 1]))
    changed = hsic.alignment(hsic.linear_gram(x), stretched, estimator)
    assert changed != pytest.approx(cka, rel=1e-3)


def test_linear_hsic_falls_when_activations_shrink_and_cka_does_not() -> None:
    x = sample(12, 5, 0)
    whole, half = hsic.linear_gram(x), hsic.linear_gram(x / 2)
    assert hsic.hsic(half, half) == pytest.approx(hsic.hsic(whole, whole) / 16)
    assert hsic.alignment(half, whole) == pytest.approx(1)


def test_permuted_products_are_those_of_permuted_samples() -> None:
    x, y = sample(8, 3, 0), sample(8, 3, 1)
    orders = hsic.permutations(8, 5, seed=1)
    first = hsic.centred(hsic.gaussian_gram(x))
    value, null = hsic.permuted_products(first, hsic.centred(hsic.gaussian_gram(y)), orders)
    again = [(first * hsic.centred(hsic.gaussian_gram(y[order]))).sum() for order in orders]
    assert null == pytest.approx(np.array(again))
    assert value == pytest.approx((first * hsic.centred(hsic.gaussian_gram(y))).sum())
    assert (hsic.permutations(8, 5, 1) == orders).all()
    assert (hsic.permutations(8, 5, 2) != orders).any()


def test_p_is_uniform_for_independent_pairs_and_small_for_dependent_ones() -> None:
    found: list[float] = []
    dependent: list[float] = []
    for seed in range(150):
        x, y = sample(15, 2, seed), sample(15, 2, 5000 + seed)
        orders = hsic.permutations(15, 39, seed)
        first = hsic.centred(hsic.gaussian_gram(x))
        for other, kept in ((y, found), (x + 0.3 * y, dependent)):
            second = hsic.centred(hsic.gaussian_gram(other))
            kept.append(hsic.permutation_test(*hsic.permuted_products(first, second, orders)).p)
    # Kolmogorov's distance stays below its 1 % bound of 1.63 / √n.
    ranks = np.sort(found)
    distance = np.abs(ranks - (np.arange(150) + 0.5) / 150).max()
    assert distance < 1.63 / np.sqrt(150) + 1 / 40
    assert min(found) >= 1 / 40
    assert np.median(dependent) == 1 / 40


def test_ties_count_against_a_finding() -> None:
    assert hsic.permutation_test(1.0, np.array([1.0, 1.0, 0.0])).p == 3 / 4


def test_too_few_pairs() -> None:
    with pytest.raises(ValueError, match="3 pairs are too few"):
        hsic.centred(np.eye(3))
