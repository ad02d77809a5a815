"""Statistics against published figures, other implementations and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from declutch.comparing import statistics
from declutch.comparing.enough import LEAST


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_published(count: int, total: int, low: float, high: float) -> None:
    interval = statistics.wilson(count, total)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


def test_wilson_ends_are_exact() -> None:
    assert statistics.wilson(0, 7).low == 0.0
    assert statistics.wilson(7, 7).high == 1.0


@pytest.mark.parametrize(("count", "total"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_share(count: int, total: int) -> None:
    with pytest.raises(ValueError, match="not a share"):
        statistics.wilson(count, total)


def pairs(both: int, gained: int, lost: int, neither: int) -> tuple[list[bool], list[bool]]:
    before = [True] * both + [False] * gained + [True] * lost + [False] * neither
    after = [True] * both + [True] * gained + [False] * lost + [False] * neither
    return before, after


def test_mcnemar_published() -> None:
    # Bentur et al. 2009 as analysed by Fagerland, Lydersen, Laake (2013, 2014): 1 1 / 7 12.
    result = statistics.mcnemar_exact(*pairs(1, 7, 1, 12))
    assert (result.gained, result.lost, result.n) == (7, 1, 21)
    assert result.p == pytest.approx(0.0703, abs=5e-5)
    assert result.difference == pytest.approx(6 / 21)
    assert (result.low, result.high) == pytest.approx((0.026, 0.517), abs=5e-4)


def test_mcnemar_is_twice_the_binomial_tail() -> None:
    result = statistics.mcnemar_exact(*pairs(5, 9, 2, 4))
    tail = sum(math.comb(11, k) for k in range(3)) / 2**11
    assert result.p == pytest.approx(2 * tail)


def test_mcnemar_turned_around() -> None:
    before, after = pairs(3, 8, 2, 11)
    there, back = statistics.mcnemar_exact(before, after), statistics.mcnemar_exact(after, before)
    assert (back.gained, back.lost, back.p) == (there.lost, there.gained, there.p)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))


def test_mcnemar_without_discordant_pairs() -> None:
    result = statistics.mcnemar_exact(*pairs(30, 0, 0, 20))
    z2 = stats.norm.ppf(0.975) ** 2
    assert result.p == 1.0
    assert result.difference == 0.0
    # Closed form of Tango's interval in this case.
    assert (result.low, result.high) == pytest.approx((-z2 / (50 + z2), z2 / (50 + z2)))


@pytest.mark.parametrize(("gained", "lost", "n"), [(6, 2, 30), (0, 5, 12), (20, 20, 40), (1, 0, 3)])
def test_tango_holds_what_the_score_test_keeps(gained: int, lost: int, n: int) -> None:
    """Against the score test with the restricted likelihood maximised on a grid."""
    interval = statistics.tango(gained, lost, n)
    rest = n - gained - lost

    def kept(delta: float) -> bool:
        grid = np.linspace(max(0.0, -delta), (1 - delta) / 2, 20001)[1:-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = sum(
                count * np.log(share)
                for count, share in (
                    (gained, grid + delta), (lost, grid), (rest, 1 - 2 * grid - delta)
                )
                if count
            )  # fmt: skip
        share = grid[int(np.nanargmax(logs))]
        variance = n * (2 * share + delta - delta**2)
        return bool(abs(gained - lost - n * delta) <= stats.norm.ppf(0.975) * math.sqrt(variance))

    for end, sign in ((interval.low, 1), (interval.high, -1)):
        assert kept(end + sign * 2e-3)
        assert abs(end - sign * 2e-3) >= 1 or not kept(end - sign * 2e-3)


def test_tango_all_gained() -> None:
    interval = statistics.tango(10, 0, 10)
    assert interval.high == 1.0
    z2 = stats.norm.ppf(0.975) ** 2
    assert interval.low == pytest.approx((10 - z2) / (10 + z2))  # closed form of this case


def test_few_values_have_an_exact_interval() -> None:
    """Of six values 1 of 64 subsets is cut at either end: what is left is lowest to highest."""
    values = [0.0, 1.0, 5.0, 2.5, 7.3, 4.0]
    assert statistics.mean_interval(values) == statistics.Interval(0.0, 7.3)
    subsets = [
        np.mean(each) for size in range(1, 9) for each in itertools.combinations(range(8), size)
    ]
    ordered = sorted(subsets)
    eight = statistics.mean_interval(list(range(8)))
    assert (eight.low, eight.high) == (float(ordered[5]), float(ordered[-6]))  # 6 of 256 are 2.3 %


def test_exact_interval_keeps_its_level_where_a_bootstrap_does_not() -> None:
    generator = np.random.default_rng(0)
    draws = generator.normal(0.0, 1.0, (400, 7))
    exact = [statistics.mean_interval(list(row)) for row in draws]
    covered = sum(one.low <= 0 <= one.high for one in exact) / len(exact)
    rows = generator.integers(0, 7, (1000, 7))
    ends = np.quantile(draws[:, rows].mean(axis=2), [0.025, 0.975], axis=1)
    bootstrapped = ((ends[0] <= 0) & (ends[1] >= 0)).mean()
    assert covered > 0.93
    assert bootstrapped < 0.91


@pytest.mark.parametrize("n", [6, 9, 13])
@pytest.mark.parametrize("shift", [0.0, 0.6, 3.0])
def test_few_pairs_get_the_exact_randomisation_test(n: int, shift: float) -> None:
    generator = np.random.default_rng(n)
    before = generator.normal(0, 1, n)
    after = before + generator.normal(shift, 1, n)
    found = statistics.paired_bootstrap(list(before), list(after))
    reference = stats.permutation_test(
        (after, before),
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**n,
    )
    assert found.p == pytest.approx(reference.pvalue)
    assert (found.p <= 0.05) == (found.low > 0 or found.high < 0)

    tokens = [10] * n
    perplexity = statistics.paired_perplexity(list(before), list(after), tokens)
    assert perplexity.p == pytest.approx(reference.pvalue)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_too_few_items_have_no_interval_and_no_p(n: int) -> None:
    values, pairs = [1.0, 2.0, 3.0, 4.0, 5.0][:n], [(1.0, 2.0)] * n
    for measure in (
        lambda: statistics.mean_interval(values),
        lambda: statistics.ratio_interval(values, values),
        lambda: statistics.paired_bootstrap(values, values),
        lambda: statistics.paired_perplexity(values, values, [1] * n),
        lambda: statistics.paired_ratio(pairs, pairs),
        lambda: statistics.kappa_interval(values, values),
    ):
        with pytest.raises(ValueError, match=f"too few to tell .{n} of at least 6"):
            measure()


def test_the_minimum_is_where_an_exact_test_can_first_reach_five_percent() -> None:
    smallest = {n: statistics.mcnemar_exact([False] * n, [True] * n).p for n in (LEAST - 1, LEAST)}
    assert smallest[LEAST] < 0.05 < smallest[LEAST - 1]


def test_mean_interval_near_the_normal_one() -> None:
    values = np.random.default_rng(3).normal(2.0, 1.0, 400)
    interval = statistics.mean_interval(list(values))
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.01)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.01)


def test_mean_interval_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [float(2**n) for n in range(20)]
    whole = statistics.mean_interval(values)
    monkeypatch.setattr(statistics, "_CHUNK", 20 * 777)
    assert statistics.mean_interval(values) == whole


def test_ratio_interval_agrees_with_scipy() -> None:
    generator = np.random.default_rng(0)
    tokens = generator.integers(20, 200, 40)
    nll = tokens * generator.normal(3.0, 0.4, 40)
    interval = statistics.ratio_interval(list(nll), [int(t) for t in tokens], seed=5)
    reference = stats.bootstrap(
        (nll, tokens),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        rng=7,
    ).confidence_interval
    assert (interval.low, interval.high) == pytest.approx(tuple(reference), abs=0.01)


def test_paired_bootstrap_sees_a_shift_and_not_noise() -> None:
    generator = np.random.default_rng(0)
    before = generator.normal(0, 3, 100)
    noise = generator.normal(0, 0.5, 100)
    shifted = statistics.paired_bootstrap(list(before), list(before + noise + 0.3))
    still = statistics.paired_bootstrap(list(before), list(before + noise - noise.mean()))
    assert shifted.low > 0
    assert shifted.p < 0.001
    assert still.low < 0 < still.high
    assert still.p > 0.9
    reference = stats.ttest_1samp(noise + 0.05, 0.0).pvalue
    close = statistics.paired_bootstrap(list(before), list(before + noise + 0.05))
    assert close.p == pytest.approx(reference, abs=0.03)


def test_paired_bootstrap_interval_and_p_agree() -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        change = generator.normal(0.2, 1.0, 60)
        result = statistics.paired_bootstrap([0.0] * 60, list(change))
        if abs(result.p - 0.05) > 0.002:
            assert (result.p < 0.05) == (result.low > 0 or result.high < 0)


def test_paired_bootstrap_of_no_change() -> None:
    result = statistics.paired_bootstrap([1.0, 2.0] * 4, [1.0, 2.0] * 4)
    assert (result.difference, result.low, result.high, result.p) == (0.0, 0.0, 0.0, 1.0)


def test_paired_perplexity() -> None:
    tokens = [10, 20, 30] * 5
    before = [10.0, 20.0, 30.0] * 5  # one nat a token each
    after = [15.0, 30.0, 45.0] * 5
    result = statistics.paired_perplexity(before, after, tokens)
    assert result.difference == pytest.approx(math.exp(1.5) - math.e)
    assert result.low == pytest.approx(result.difference)
    assert result.p < 0.001


def test_holm_published() -> None:
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert statistics.holm([0.9, 0.8]) == (1.0, 1.0)
    assert statistics.holm([]) == ()


def test_kappa_published() -> None:
    # A usual worked example: 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no gives 0.40.
    a = [True] * 25 + [False] * 25
    b = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert statistics.cohens_kappa(a, b) == pytest.approx(0.4)
    assert statistics.cohens_kappa(a, a) == 1.0
    assert statistics.cohens_kappa([1, 1], [1, 1]) is None


def test_cohens_h() -> None:
    # Cohen 1988: phi(0.5) = 1.571, phi(0.25) = 1.047.
    assert statistics.cohens_h(0.5, 0.25) == pytest.approx(0.5236, abs=1e-4)
    assert statistics.cohens_h(0.25, 0.5) == pytest.approx(-0.5236, abs=1e-4)


def test_prompts_needed_reaches_its_power() -> None:
    difference, discordant = 0.1, 0.3
    n = statistics.prompts_needed(difference, discordant)
    generator = np.random.default_rng(0)
    gain, loss = (discordant + difference) / 2, (discordant - difference) / 2
    counts = generator.multinomial(n, [gain, loss, 1 - gain - loss], size=20_000)
    z = (counts[:, 0] - counts[:, 1]) / np.sqrt(counts[:, 0] + counts[:, 1])
    power = (np.abs(z) > stats.norm.ppf(0.975)).mean()
    assert power == pytest.approx(0.8, abs=0.02)
    assert statistics.prompts_needed(0.05, 0.3) > n


def test_prompts_needed_refuses_the_impossible() -> None:
    with pytest.raises(ValueError, match="discordant"):
        statistics.prompts_needed(0.2, 0.1)


def test_cohens_dz() -> None:
    # Differences 1, 2, 3: mean 2, standard deviation 1.
    assert statistics.cohens_dz([0, 0, 0], [1, 2, 3]) == pytest.approx(2.0)
    assert statistics.cohens_dz([1, 2, 3], [0, 0, 0]) == pytest.approx(-2.0)
    assert statistics.cohens_dz([0.0], [1.0]) is None
    assert statistics.cohens_dz([0.1, 0.2, 0.3], [0.2, 0.3, 0.4]) is None
    assert statistics.cohens_dz([1, 1], [1, 1]) is None
