"""Statistics of independent items: intervals, paired tests, corrections, effect and sample sizes.

Those of items in clusters are in :mod:`declutch.comparing.clusters`.

Every function takes plain numbers and sequences and knows nothing of models or files. Intervals
are 95 %. Random ones take a seed and give the same answer for it.

What is resampled needs :data:`~declutch.comparing.enough.LEAST` items, and is exact as long as
all subsets of the items can be gone through: see :func:`_resampled`. A ValueError otherwise.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from declutch.comparing.enough import LEAST, too_few_of

Floats = NDArray[np.float64]
LEVEL = 0.95
RESAMPLES = 10_000
# Numbers drawn at once: bounds the memory of a bootstrap over many items (8 bytes each).
_CHUNK = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedProportions:
    """Two yes/no results on the same items.

    Attributes:
        gained: items with no before and yes after.
        lost: items with yes before and no after.
        n: items.
        difference: share of yes after minus share before, with its interval ``low`` to ``high``.
        p: two-sided exact McNemar p.
    """

    gained: int
    lost: int
    n: int
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class PairedMeans:
    """Two measurements of the same ``n`` items: difference after minus before, interval, p."""

    n: int
    difference: float
    low: float
    high: float
    p: float


def wilson(count: int, total: int) -> Interval:
    """Score interval of a share (Wilson 1927): sound also at 0, at 1 and for few items."""
    if not 0 <= count <= total or total == 0:
        raise ValueError(f"{count} of {total} is not a share")
    low, high = stats.binomtest(count, total).proportion_ci(LEVEL, method="wilson")
    # Exactly 0 and 1 at the ends, where rounding leaves ±1e-17.
    return Interval(max(0.0, float(low)), min(1.0, float(high)))


def mcnemar_exact(before: Sequence[bool], after: Sequence[bool]) -> PairedProportions:
    """Exact McNemar test of paired yes/no results, with Tango's interval of the difference.

    The p is the exact two-sided binomial one on the discordant pairs (1 where there are none).
    The interval is :func:`tango`. It comes from another test than the p (the score test), so
    near the border the one may exclude 0 while the other stays just above 0.05: the exact test is
    the stricter.
    """
    pairs = list(zip(before, after, strict=True))
    if not pairs:
        raise ValueError("no pairs")
    gained = sum(1 for old, new in pairs if new and not old)
    lost = sum(1 for old, new in pairs if old and not new)
    discordant = gained + lost
    p = float(stats.binomtest(gained, discordant).pvalue) if discordant else 1.0
    interval = tango(gained, lost, len(pairs))
    difference = (gained - lost) / len(pairs)
    return PairedProportions(
        gained, lost, len(pairs), difference, interval.low, interval.high, min(1.0, p)
    )


def tango(gained: float, lost: float, n: float) -> Interval:
    """Score interval of a paired difference of shares, ``(gained - lost) / n``.

    The interval holds every difference that the score test of Tango does not reject. Source:
    T. Tango, Statistics in Medicine 17 (1998) 891–908; it keeps its level for small samples and
    where no pair is discordant (Fagerland, Lydersen, Laake, Statistics in Medicine 33 (2014)).
    Counts need not be whole.
    """
    if min(gained, lost) < 0 or gained + lost > n * (1 + 1e-9) or n == 0:
        raise ValueError(f"{gained} gained and {lost} lost are not possible among {n}")
    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    estimate = (gained - lost) / n

    def excess(difference: float) -> float:
        """How far beyond ±z the test statistic at this difference lies; negative inside."""
        # The probability of «lost» under the restriction, by maximum likelihood.
        b = -gained - lost + (2 * n - gained + lost) * difference
        c = -lost * difference * (1 - difference)
        share = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
        variance = n * (2 * share + difference * (1 - difference))
        distance = abs(gained - lost - n * difference)
        if variance <= 0:
            return -z if distance < 1e-12 else math.inf
        return distance / math.sqrt(variance) - z

    def border(end: float) -> float:
        # excess() is infinite at ±1 itself, unless every pair is discordant the same way.
        if abs(estimate - end) < 1e-12:
            return end
        edge = math.copysign(1 - 1e-12, end)
        if excess(edge) <= 0:
            return end
        return float(optimize.brentq(excess, estimate, edge, xtol=1e-12))

    return Interval(border(-1.0), border(1.0))


def mean_interval(values: Sequence[float], seed: int = 0) -> Interval:
    """Percentile bootstrap interval of a mean; exact for few values."""
    data = np.asarray(values, dtype=np.float64)
    means = _resampled(len(data), seed, lambda rows: data[rows].mean(axis=1))
    return percentiles(means)


def ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of Σ numerator / Σ denominator, resampling whole items.

    For a perplexity: the items are texts, with their summed NLL and their number of tokens;
    take the exponential of both ends.
    """
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.asarray(denominators, dtype=np.float64)
    if top.shape != bottom.shape:
        raise ValueError("as many numerators as denominators are needed")
    ratios = _resampled(
        len(top), seed, lambda rows: top[rows].sum(axis=1) / bottom[rows].sum(axis=1)
    )
    return percentiles(ratios)


def paired_bootstrap(before: Sequence[float], after: Sequence[float], seed: int = 0) -> PairedMeans:
    """Difference of two means over the same items, by resampling the items.

    The interval is the percentile one, and the p is the level at which that interval would just
    touch 0 (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 15), so that both
    always agree. It can't be smaller than ``2 / (RESAMPLES + 1)``. For few items both are those of
    the exact test that exchanges before and after item by item (Fisher's randomisation test).
    """
    change = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    if len(before) != len(after):
        raise ValueError("before and after need the same items")
    return _paired(len(change), seed, lambda rows: change[rows].mean(axis=-1))


def paired_perplexity(
    before: Sequence[float],
    after: Sequence[float],
    tokens: Sequence[float],
    seed: int = 0,
) -> PairedMeans:
    """Difference of two perplexities on the same texts, by resampling the texts.

    Args:
        before: summed NLL (nats) of each text.
        after: the same with the other model.
        tokens: predicted tokens of each text, the same for both.
    """
    old, new = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    counts = np.asarray(tokens, dtype=np.float64)
    if not old.shape == new.shape == counts.shape:
        raise ValueError("before and after need the same texts")

    def difference(rows: NDArray[np.int64]) -> Floats:
        total = counts[rows].sum(axis=-1)
        # One ruined text can lift a choice of texts beyond a float: the caller sees its inf or NaN.
        with np.errstate(over="ignore", invalid="ignore"):
            result: Floats = np.exp(new[rows].sum(axis=-1) / total) - np.exp(
                old[rows].sum(axis=-1) / total
            )
        return result

    return _paired(len(old), seed, difference)


def paired_ratio(
    before: Sequence[tuple[float, float]],
    after: Sequence[tuple[float, float]],
    seed: int = 0,
) -> PairedMeans:
    """Difference of two ratios Σ numerators / Σ denominators over the same items, by resampling.

    For rates such as uses of a phrase in all words, where an item's weight is its own length, and
    may differ before and after. Items without any length count for nothing.

    Args:
        before, after: for each item its numerator and its denominator.
    """
    old, new = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if old.shape != new.shape or old.ndim != 2 or old.shape[1] != 2:
        raise ValueError("before and after need the same items, two numbers each")

    def difference(rows: NDArray[np.int64]) -> Floats:
        # A resample of empty items alone has a rate of 0.
        sums = [side[rows].sum(axis=-2) for side in (old, new)]
        rates = [side[..., 0] / np.maximum(side[..., 1], 1e-9) for side in sums]
        result: Floats = rates[1] - rates[0]
        return result

    return _paired(len(old), seed, difference)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down adjusted p values, in the order given (Holm 1979)."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return tuple(adjusted)


def cohens_kappa(a: Sequence[Hashable], b: Sequence[Hashable]) -> float | None:
    """Agreement of two raters beyond chance (Cohen 1960).

    None where both gave one and the same label throughout: nothing can be said beyond chance.
    """
    pairs = list(zip(a, b, strict=True))
    if not pairs:
        raise ValueError("no pairs")
    n = len(pairs)
    observed = sum(1 for left, right in pairs if left == right) / n
    first, second = Counter(left for left, _ in pairs), Counter(right for _, right in pairs)
    by_chance = sum(first[label] * second[label] for label in first) / n**2
    return None if by_chance == 1 else (observed - by_chance) / (1 - by_chance)


def kappa_interval(a: Sequence[Hashable], b: Sequence[Hashable], seed: int = 0) -> Interval:
    """Percentile bootstrap interval of Cohen's kappa, resampling whole items.

    Resamples in which nothing can be said beyond chance count as full agreement, which is what
    they show.
    """
    labels = {label: n for n, label in enumerate(dict.fromkeys([*a, *b]))}
    size = len(labels)
    cells = Counter(zip(a, b, strict=True))
    shares = np.zeros((size, size))
    for (left, right), count in cells.items():
        shares[labels[left], labels[right]] = count / len(a)
    if len(a) < LEAST:
        raise ValueError(too_few_of(len(a)))
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(len(a), shares.ravel(), size=RESAMPLES)
    return percentiles(kappas(counts.reshape(RESAMPLES, size, size)))


def kappas(tables: NDArray[Any]) -> Floats:
    """Cohen's kappa of each of many tables of counts, ``[R, K, K]``; 1 where there is no chance."""
    tables = tables / tables.sum(axis=(1, 2), keepdims=True)
    observed = np.trace(tables, axis1=1, axis2=2)
    by_chance = (tables.sum(axis=2) * tables.sum(axis=1)).sum(axis=1)
    rest = 1 - by_chance
    known = rest > 1e-12
    return np.where(known, (observed - by_chance) / np.where(known, rest, 1), 1.0)


def cohens_h(p1: float, p2: float) -> float:
    """Effect size of two shares (Cohen 1988): 0.2 is small, 0.5 medium, 0.8 large; signed."""
    return 2 * math.asin(math.sqrt(p1)) - 2 * math.asin(math.sqrt(p2))


def cohens_dz(before: Sequence[float], after: Sequence[float]) -> float | None:
    """Effect size of a paired difference of means: in standard deviations of the differences.

    Cohen 1988, ch. 2; signed. None where it is not defined: fewer than two items, or one and the
    same difference for all.
    """
    change = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    if len(change) < 2:
        return None
    spread = float(change.std(ddof=1))
    # Equal differences leave a spread of rounding errors.
    if spread <= 1e-12 * float(np.abs(change).max(initial=0.0)):
        return None
    return float(change.mean()) / spread


def prompts_needed(difference: float, discordant: float) -> int:
    """Number of prompts with which McNemar's test (two-sided, 0.05) sees a difference at power 0.8.

    Args:
        difference: of the two shares, as 0.05 for five points.
        discordant: the share of prompts whose verdict changes in either way.

    Source: Connett, Smith, McHugh, Statistics in Medicine 6 (1987) 537–544, unconditional.
    """
    if not 0 < abs(difference) <= discordant <= 1:
        raise ValueError(
            "the discordant share is at most 1 and not below the difference, which is not 0"
        )
    at_alpha, at_power = stats.norm.ppf(1 - 0.05 / 2), stats.norm.ppf(0.8)
    spread = at_alpha * math.sqrt(discordant) + at_power * math.sqrt(discordant - difference**2)
    # Rounded first, so that an exact number of prompts is not lifted by a last bit.
    return math.ceil(round(float(spread / difference) ** 2, 9))


def exact(n: int) -> bool:
    """Whether so few items are gone through in all their subsets, and not resampled by chance."""
    return bool(2**n <= RESAMPLES)


def _resampled(n: int, seed: int, statistic: Callable[[NDArray[np.int64]], Floats]) -> Floats:
    """The statistic of many choices of the items; it gets item numbers, one choice a row.

    Where :func:`exact`, the choices are all subsets but the empty one. Their 2ⁿ − 1 values and the
    true one, between them at any place, are equally likely in every order if the items scatter
    evenly about it (Hartigan, Journal of the American Statistical Association 64 (1969) 1303), so
    that their ends make an exact interval; and what share of them lies beyond 0 is the exact p of
    exchanging before and after item by item. With more items ``RESAMPLES`` bootstrap resamples are
    drawn, whose interval is too narrow for few.

    Raises:
        ValueError: there are fewer than ``LEAST`` items, for which there is no 95 % interval.
    """
    if n < LEAST:
        raise ValueError(too_few_of(n))
    if exact(n):
        sizes = (np.array(list(combinations(range(n), size))) for size in range(1, n + 1))
        return np.concatenate([statistic(rows) for rows in sizes])
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK // n)
    parts = [
        statistic(generator.integers(0, n, size=(min(rows, RESAMPLES - start), n)))
        for start in range(0, RESAMPLES, rows)
    ]
    return np.concatenate(parts)


def _paired(n: int, seed: int, difference: Callable[[NDArray[np.int64]], Floats]) -> PairedMeans:
    """The difference over all items, with what resampling them says of it."""
    differences = _resampled(n, seed, difference)
    interval = percentiles(differences)
    observed = float(difference(np.arange(n)))
    return PairedMeans(n, observed, interval.low, interval.high, _p_value(differences))


def percentiles(values: Floats) -> Interval:
    """The interval that resampled values say."""
    if len(values) < RESAMPLES:
        # The k-th from either end: with one more value the parts between them are equally likely.
        k = int((1 - LEVEL) / 2 * (len(values) + 1) + 1e-9)
        ordered = np.sort(values)
        return Interval(float(ordered[k - 1]), float(ordered[-k]))
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def _p_value(differences: Floats) -> float:
    tail = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(differences) + 1))
