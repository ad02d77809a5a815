"""Kinds of metric: the values of items as one number, and two sets of them against each other."""

from __future__ import annotations

import math
from typing import Any

import pytest

from declutch.comparing import statistics
from declutch.comparing.kinds import MEAN, PERPLEXITY, PROPORTION, Kind, Rate
from declutch.errors import SettingsError

RATE = Rate(1000)
# Two values of each kind, of which the second is more.
KINDS: list[tuple[Kind, Any, Any]] = [
    (PROPORTION, False, True),
    (MEAN, 1.0, 2.0),
    (PERPLEXITY, (5.0, 5), (10.0, 5)),
    (RATE, (1, 100), (2, 100)),
]


def test_a_proportion() -> None:
    found = PROPORTION.summary([True] * 3 + [False] * 7, 0)
    expected = statistics.wilson(3, 10)
    assert (found.total, found.count, found.value) == (10, 3, 0.3)
    assert (found.low, found.high) == (expected.low, expected.high)
    change = PROPORTION.paired([False] * 8 + [True] * 2, [True] * 6 + [False] * 4, 0)
    exact = statistics.mcnemar_exact([False] * 8 + [True] * 2, [True] * 6 + [False] * 4)
    assert (change.n_pairs, change.gained, change.lost) == (10, 6, 2)
    assert change.difference == pytest.approx(0.4)
    assert (change.low, change.high, change.p) == (exact.low, exact.high, exact.p)
    assert change.effect == pytest.approx(statistics.cohens_h(0.6, 0.2))
    assert change.prompts_needed == statistics.prompts_needed(0.4, 0.8)


def test_as_many_gained_as_lost_need_no_number_of_prompts() -> None:
    change = PROPORTION.paired([True, False] * 4, [False, True] * 4, 0)
    assert (change.gained, change.lost, change.difference) == (4, 4, 0)
    assert change.prompts_needed is None


def test_a_mean() -> None:
    values = [0.5, 1.5, 2.5, 3.5, 4.5, 6.5, 8.0, 9.0]
    found = MEAN.summary(values, 3)
    expected = statistics.mean_interval(values, 3)
    assert (found.value, found.total, found.count) == (4.5, 8, None)
    assert (found.low, found.high) == (expected.low, expected.high)
    more = [value + n % 3 for n, value in enumerate(values)]
    change, known = MEAN.paired(values, more, 3), statistics.paired_bootstrap(values, more, 3)
    assert (change.difference, change.p, change.low) == (known.difference, known.p, known.low)
    assert (change.effect, change.effect_name) == (statistics.cohens_dz(values, more), "d_z")
    # The same change throughout has no spread to be measured in.
    same = MEAN.paired(values, [value + 1 for value in values], 3)
    assert (same.effect, same.effect_name) == (None, "")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_mean_of_what_is_no_number_is_none(value: float) -> None:
    found = MEAN.summary([1.0] * 6 + [value], 0)
    assert found.value is not None
    assert math.isnan(found.value)
    assert (found.total, found.low, found.high) == (7, None, None)


def test_a_perplexity() -> None:
    found = PERPLEXITY.summary([(20.0, 10), (10.0, 5)] * 3, 0)
    assert found.value == pytest.approx(math.exp(2))
    assert (found.low, found.high) == pytest.approx((math.exp(2), math.exp(2)))
    before, after = [(20.0, 10), (9.0, 5)] * 4, [(30.0, 10), (12.0, 5)] * 4
    change = PERPLEXITY.paired(before, after, 0)
    assert change.difference == pytest.approx(math.exp(42 / 15) - math.exp(29 / 15))
    assert (
        change.p
        == statistics.paired_perplexity(
            [nll for nll, _ in before], [nll for nll, _ in after], [n for _, n in before], 0
        ).p
    )


def test_perplexities_of_two_tokenizers_are_not_compared() -> None:
    before = [(20.0, 10)] * 8
    with pytest.raises(SettingsError, match="different tokenizers"):
        PERPLEXITY.paired(before, [*before[:-1], (20.0, 11)], 0)
    # Nor are few of them.
    with pytest.raises(SettingsError, match="different tokenizers"):
        PERPLEXITY.paired(before[:2], [(20.0, 10), (20.0, 9)], 0)


def test_a_perplexity_beyond_a_float() -> None:
    whole = PERPLEXITY.summary([(9000.0, 10)] * 6, 0)
    assert whole.value == math.inf
    few = PERPLEXITY.paired([(5.0, 10)] * 2, [(9000.0, 10)] * 2, 0)
    assert (few.n_pairs, few.difference) == (2, None)
    # One ruined text of many costs the interval, not the difference.
    many = PERPLEXITY.paired([(20.0, 10)] * 6, [(20.0, 10)] * 5 + [(9000.0, 10)], 0)
    assert many.difference == pytest.approx(math.exp(9100 / 60) - math.exp(2))
    assert (many.low, many.high, many.p, many.test) == (None, None, None, "")


def test_a_rate() -> None:
    values = [(1, 100), (0, 50), (3, 150), (2, 100), (0, 0), (1, 100)]
    found = RATE.summary(values, 0)
    assert found.value == pytest.approx(1000 * 7 / 500)
    assert found.total == 6
    interval = statistics.ratio_interval([1, 0, 3, 2, 0, 1], [100, 50, 150, 100, 1e-9, 100], 0)
    assert (found.low, found.high) == pytest.approx((1000 * interval.low, 1000 * interval.high))
    after = [(uses + 1, size) for uses, size in values]
    change, known = RATE.paired(values, after, 0), statistics.paired_ratio(values, after, 0)
    assert change.difference == pytest.approx(1000 * 6 / 500)
    assert (change.low, change.high, change.p) == (1000 * known.low, 1000 * known.high, known.p)


def test_a_rate_of_nothing_used_is_bounded_by_poisson() -> None:
    """Were the rate at its upper end, nothing would be seen once in forty times."""
    found = RATE.summary([(0, 100)] * 8, 0)
    assert (found.value, found.low) == (0, 0)
    assert found.high is not None
    assert math.exp(-found.high / 1000 * 800) == pytest.approx(0.025)
    # The more is read, the less can have been missed; a single use needs no such bound.
    more = RATE.summary([(0, 1000)] * 8, 0)
    assert more.high == pytest.approx(found.high / 10)
    once = RATE.summary([(1, 100)] + [(0, 100)] * 7, 0)
    assert once.high != pytest.approx(found.high)
    assert Rate().summary([(0, 100)] * 8, 0).high == pytest.approx(found.high / 1000)


def test_a_rate_in_nothing_has_no_value() -> None:
    found = RATE.summary([(0, 0)] * 8, 0)
    assert (found.total, found.value, found.low, found.high) == (8, None, None, None)


@pytest.mark.parametrize(("kind", "less", "more"), KINDS)
@pytest.mark.parametrize("n", [1, 5])
def test_too_few_have_a_value_and_no_more(kind: Kind, less: Any, more: Any, n: int) -> None:
    found = kind.summary([more] * n, 0)
    assert found.value is not None
    assert (found.total, found.low, found.high) == (n, None, None)
    change = kind.paired([less] * n, [more] * n, 0)
    assert change.difference is not None
    assert change.difference > 0
    assert (change.n_pairs, change.test) == (n, "too few to tell")
    assert (change.low, change.high, change.p, change.effect) == (None,) * 4
    assert change.prompts_needed is None


@pytest.mark.parametrize(("kind", "less", "more"), KINDS)
def test_six_are_enough(kind: Kind, less: Any, more: Any) -> None:
    found = kind.summary([less, more] * 3, 0)
    assert found.low is not None
    assert found.high is not None
    assert found.value is not None
    assert found.low <= found.value <= found.high
    change = kind.paired([less] * 6, [more] * 6, 0)
    assert change.difference is not None
    assert change.difference > 0
    assert change.p is not None
    assert change.p < 0.05
    back = kind.paired([more] * 6, [less] * 6, 0)
    assert back.difference == pytest.approx(-change.difference)


@pytest.mark.parametrize("kind", [kind for kind, *_ in KINDS])
def test_nothing_is_none(kind: Kind) -> None:
    found = kind.summary([], 0)
    assert (found.total, found.value, found.low, found.high) == (0, None, None, None)
