"""Items in clusters: what is counted on, and that clusters of one item change nothing."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from declutch.comparing import statistics
from declutch.comparing.clusters import (
    cluster_labels,
    cluster_sums,
    clustered_kappa,
    clustered_mcnemar,
    clustered_wilson,
    independent_items,
    sign_flip,
)
from declutch.comparing.enough import TOO_FEW
from declutch.comparing.kinds import MEAN, PERPLEXITY, PROPORTION, Kind, Rate
from declutch.comparing.series import Series, compare_series
from declutch.measures.agreement import Kappa

FIVES = [number // 5 for number in range(100)]
DRAW = np.random.default_rng(3)


def test_labels_and_sums() -> None:
    assert cluster_labels(["a", "b", "c"], {"a": "x", "c": "x"}) == ["x", ("alone", "b"), "x"]
    assert cluster_labels(["a", "b"], {"a": "x", "z": "x"}) == ()
    assert cluster_labels(["a", "b"], None) == ()
    assert cluster_sums([1, 2, 4], "xyx") == [(5.0,), (2.0,)]
    assert cluster_sums([(1, 10), (2, 20), (4, 40)], "xyx") == [(5.0, 50.0), (2.0, 20.0)]


@pytest.mark.parametrize("count", range(1, 7))
def test_the_sign_flip_test_goes_through_all_signs(count: int) -> None:
    totals = DRAW.integers(-4, 5, count).tolist()
    sums = [
        abs(sum(s * t for s, t in zip(signs, totals, strict=True)))
        for signs in product((-1, 1), repeat=count)
    ]
    expected = sum(each >= abs(sum(totals)) for each in sums) / len(sums)
    assert sign_flip(totals) == pytest.approx(expected)


@pytest.mark.parametrize(("gained", "lost", "same"), [(8, 1, 5), (0, 0, 9), (300, 240, 500)])
def test_the_sign_flip_test_of_single_items_is_mcnemar(gained: int, lost: int, same: int) -> None:
    expected = stats.binomtest(gained, gained + lost).pvalue if gained else 1.0
    assert sign_flip([1] * gained + [-1] * lost + [0] * same) == pytest.approx(expected)


def test_what_clusters_are_worth() -> None:
    student = (stats.norm.ppf(0.975) / stats.t(19).ppf(0.975)) ** 2
    shared = np.repeat(DRAW.random(20) < 0.5, 5)
    # All five of a cluster the same: 20 items, in the limit of many clusters.
    expected = 20 * student * (19 / 20) * (100 / 99)
    assert independent_items(shared.tolist(), FIVES) == pytest.approx(expected)
    # Each cluster the same mix: more than 100 items' worth is never claimed.
    assert independent_items([1, 0, 0, 0, 0] * 20, FIVES) == pytest.approx(100 * student)
    # Where nothing varies, one item a cluster.
    assert independent_items([0] * 100, FIVES) == pytest.approx(20 * student)


def test_intervals_of_clusters_are_wilsons_and_tangos_of_what_they_are_worth() -> None:
    aware = [False] * 70 + [True] * 30
    found, worth = clustered_wilson(aware, FIVES), independent_items(aware, FIVES)
    for end in (found.low, found.high):  # where the score test just rejects
        assert abs(0.3 - end) / math.sqrt(end * (1 - end) / worth) == pytest.approx(
            stats.norm.ppf(0.975)
        )
    assert clustered_wilson([False] * 100, FIVES).low == 0
    assert clustered_wilson([True] * 100, FIVES).high == 1
    change, share = clustered_mcnemar([False] * 100, aware, FIVES)
    assert (change.gained, change.lost, change.n, share) == (30, 0, 100, worth / 100)
    tango = statistics.tango(30 * share, 0, 100 * share)
    assert (change.low, change.high) == (tango.low, tango.high)
    assert change.p == pytest.approx(2 / 2**6)
    everything, _ = clustered_mcnemar([False] * 100, [True] * 100, FIVES)
    assert everything.high == 1


def halves(values: list[Any]) -> list[Any]:
    """Each value twice, so that two items say no more than one."""
    return [value for value in values for _ in range(2)]


@pytest.mark.parametrize("count", [8, 30])
@pytest.mark.parametrize("kind", [MEAN, PERPLEXITY, Rate(1000)])
def test_an_item_that_is_there_twice_counts_once(kind: Kind, count: int) -> None:
    pairs = [(float(x), 10.0 + n) for n, x in enumerate(DRAW.random(count))]
    other = [(float(x), size) for (_, size), x in zip(pairs, DRAW.random(count), strict=True)]
    old, new = ([x for x, _ in side] for side in (pairs, other)) if kind is MEAN else (pairs, other)
    twice = halves([*range(count)])
    single, double = kind.summary(old, 0), kind.summary(halves(old), 0, twice)
    assert (double.total, double.clusters) == (2 * count, count)
    assert [double.value, double.low, double.high] == pytest.approx(
        [single.value, single.low, single.high]
    )
    one, two = kind.paired(old, new, 0), kind.paired(halves(old), halves(new), 0, twice)
    assert (two.n_pairs, two.clusters) == (2 * count, count)
    assert two.test == f"{one.test} of clusters"
    numbers = [(each.difference, each.low, each.high, each.p) for each in (one, two)]
    assert numbers[1] == pytest.approx(numbers[0])


def test_a_mean_of_nothing_is_no_count_of_nothing() -> None:
    found = MEAN.summary([0.0] * 40, 0, halves([*range(20)]))
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_a_proportion_in_clusters() -> None:
    before = [False] * 60 + [True] * 40
    after = [False] * 40 + [True] * 60
    found = PROPORTION.paired(before, after, 0, FIVES)
    exact, worth = clustered_mcnemar(before, after, FIVES)
    assert (found.p, found.low, found.high) == (exact.p, exact.low, exact.high)
    assert (found.test, found.clusters) == ("exact sign-flip of clusters", 20)
    alone = PROPORTION.paired(before, after, 0)
    assert alone.p is not None
    assert alone.prompts_needed is not None
    assert found.p > alone.p  # type: ignore[operator]
    assert found.prompts_needed == math.ceil(alone.prompts_needed / worth)


@pytest.mark.parametrize("kind", [PROPORTION, MEAN])
def test_five_clusters_are_too_few(kind: Kind) -> None:
    clusters = [number // 20 for number in range(100)]
    values = [True, False] * 50
    summary, paired = kind.summary(values, 0, clusters), kind.paired(values, values, 0, clusters)
    assert (summary.low, summary.clusters) == (None, 5)
    assert (paired.low, paired.p, paired.test, paired.clusters) == (None, None, TOO_FEW, 5)
    assert paired.effect is None


def test_kappa_of_doubled_verdicts_is_as_wide_as_of_single_ones() -> None:
    first = ["aware", "unaware", "aware", "aware", "unaware"] * 8
    second = ["aware", "unaware", "unaware", "aware", "unaware"] * 8
    single = statistics.kappa_interval(first, second)
    double = clustered_kappa(halves(first), halves(second), halves([*range(40)]))
    assert [double.low, double.high] == pytest.approx([single.low, single.high], abs=0.03)
    found = Kappa().summary(list(zip(first, second, strict=True)), 0, [n // 4 for n in range(40)])
    assert found.clusters == 10
    few = Kappa().summary(list(zip(first, second, strict=True)), 0, [n // 8 for n in range(40)])
    assert (few.clusters, few.low) == (5, None)


def series(values: dict[str, bool]) -> Series:
    return Series("awareness/privacy/j", PROPORTION, values, note="said")


def test_metric_and_row_say_how_many_clusters_there_are() -> None:
    keys = [f"p{n}" for n in range(40)]
    old, new = ({key: n % by == 0 for n, key in enumerate(keys)} for by in (4, 2))
    clusters = {key: f"c{n // 4}" for n, key in enumerate(keys[:36])}
    before, after = (series(values).metric("a", clusters=clusters) for values in (old, new))
    assert (before.total, before.clusters, before.independent) == (40, 13, 13)
    assert before.note == "said; in 13 clusters"
    row, _ = compare_series(before, after, series(old), series(new), clusters=clusters)
    assert (row.n_pairs, row.clusters, row.independent) == (40, 13, 13)
    assert row.as_json()["clusters"] == row.as_json()["before"]["clusters"] == 13
    few = {key: f"c{n // 10}" for n, key in enumerate(keys)}
    assert series(old).metric("a", clusters=few).too_few
    row, _ = compare_series(before, after, series(old), series(new), clusters=few)
    assert (row.too_few, row.reading) == (True, TOO_FEW)


def test_clusters_of_one_item_change_nothing() -> None:
    values = {f"p{n}": n % 3 == 0 for n in range(40)}
    other = {f"p{n}": n % 2 == 0 for n in range(40)}
    alone = {key: key.upper() for key in values}
    plain = series(values).metric("a")
    assert series(values).metric("a", clusters=alone) == plain
    assert (plain.clusters, plain.note) == (None, "said")
    rows = [
        compare_series(plain, plain, series(values), series(other), clusters=each)[0]
        for each in (None, alone)
    ]
    assert rows[0] == rows[1]
    assert rows[0].test == "exact McNemar"
