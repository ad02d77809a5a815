"""Kinds of metric: how the values of items become one number, and how two sets are compared.

A kind is one object. What a value is depends on it: yes or no, a number, a pair of numbers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from declutch.comparing import statistics
from declutch.comparing.clusters import (
    Labels,
    cluster_sums,
    clustered_mcnemar,
    clustered_wilson,
)
from declutch.comparing.enough import TOO_FEW, too_few
from declutch.comparing.statistics import Interval, PairedMeans
from declutch.errors import SettingsError

Shown = Literal["proportion", "mean", "perplexity"]


@dataclass(frozen=True, slots=True)
class Summary:
    """One number with its 95 % interval; None where there is nothing, or too little for one.

    Attributes:
        total: how many items it is taken over.
        count: successes, of proportions.
        clusters: how many clusters the items are in; None where each is independent.
    """

    total: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    count: int | None = None
    clusters: int | None = None


@dataclass(frozen=True, slots=True)
class Paired:
    """After minus before over the same items.

    Attributes:
        difference: with its 95 % interval ``low`` to ``high``; None where it can't be told.
        gained, lost: for proportions, items that came to count and that ceased to.
        test: which test, in words; «too few to tell» where none could be made, empty where none is.
        effect: effect size, signed (Cohen's h for proportions, d_z for means: ``effect_name``).
        prompts_needed: for proportions, with how many prompts a difference of this size would be
            seen (power 0.8, level 0.05), if as many verdicts change as here (and are in
            such clusters).
        clusters: as in :class:`Summary`.
    """

    n_pairs: int = 0
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    gained: int | None = None
    lost: int | None = None
    test: str = ""
    effect: float | None = None
    effect_name: str = ""
    prompts_needed: int | None = None
    clusters: int | None = None


class Kind(Protocol):
    """What a metric is.

    Attributes:
        shown: how its numbers are written: as a share, a plain number, or a perplexity.
    """

    @property
    def shown(self) -> Shown: ...

    def summary(self, values: Sequence[Any], seed: int, clusters: Labels = ()) -> Summary:
        """The metric's number over the values of its items.

        Args:
            clusters: a label for each item; none where all items are independent.
        """
        ...

    def paired(
        self, before: Sequence[Any], after: Sequence[Any], seed: int, clusters: Labels = ()
    ) -> Paired:
        """The test of two sets of values of the same items, in the same order."""
        ...


@dataclass(frozen=True)
class Proportion:
    """The share of items that are so; a value is yes or no."""

    shown: Shown = "proportion"

    def summary(self, values: Sequence[bool], seed: int, clusters: Labels = ()) -> Summary:
        """With Wilson's interval."""
        total, count = len(values), sum(values)
        if not total:
            return Summary(0, count=0)
        number = len(set(clusters)) or None
        interval = None
        if not too_few(number or total):
            interval = (
                clustered_wilson(values, clusters) if clusters else statistics.wilson(count, total)
            )
        return Summary(total, count / total, *_ends(interval), count=count, clusters=number)

    def paired(
        self, before: Sequence[bool], after: Sequence[bool], seed: int, clusters: Labels = ()
    ) -> Paired:
        """McNemar's exact test, with Tango's interval; of clusters the exact sign-flip test."""
        found = statistics.mcnemar_exact(before, after)
        told = Paired(
            found.n, found.difference, gained=found.gained, lost=found.lost, test=TOO_FEW,
            clusters=len(set(clusters)) or None,
        )  # fmt: skip
        if too_few(told.clusters or found.n):
            return told
        worth = 1.0
        if clusters:
            found, worth = clustered_mcnemar(before, after, clusters)
        needed = None
        if found.gained != found.lost:
            changed = (found.gained + found.lost) / found.n
            needed = math.ceil(statistics.prompts_needed(found.difference, changed) / worth)
        return replace(
            told, low=found.low, high=found.high, p=found.p,
            test=f"exact sign-flip{_OF_CLUSTERS}" if clusters else "exact McNemar",
            effect=statistics.cohens_h(sum(after) / found.n, sum(before) / found.n),
            effect_name="Cohen's h", prompts_needed=needed,
        )  # fmt: skip


@dataclass(frozen=True)
class Mean:
    """The mean of the items' numbers."""

    shown: Shown = "mean"

    def summary(self, values: Sequence[float], seed: int, clusters: Labels = ()) -> Summary:
        """With a bootstrap interval, exact for few items."""
        if not values or not all(map(math.isfinite, values)):
            return Summary(len(values), math.nan if values else None)
        if clusters:
            return _RATIO.summary([(value, 1.0) for value in values], seed, clusters)
        interval = None if too_few(len(values)) else statistics.mean_interval(values, seed)
        return Summary(len(values), math.fsum(values) / len(values), *_ends(interval))

    def paired(
        self, before: Sequence[float], after: Sequence[float], seed: int, clusters: Labels = ()
    ) -> Paired:
        """Paired bootstrap, exact for few items."""
        if too_few(len(before)):
            return _untested(self, before, after)
        if clusters:
            old, new = ([(value, 1.0) for value in side] for side in (before, after))
            found = _RATIO.paired(old, new, seed, clusters)
        else:
            found = _told(statistics.paired_bootstrap(before, after, seed))
        effect = None if found.test == TOO_FEW else statistics.cohens_dz(before, after)
        return replace(found, effect=effect, effect_name="" if effect is None else "d_z")


Pairs = Sequence[tuple[float, float]]


class _OfSums(ABC):
    """Made of sums over items, so that a cluster counts as one item that is the sum of its own."""

    def summary(self, values: Pairs, seed: int, clusters: Labels = ()) -> Summary:
        """With a bootstrap interval over items, or over clusters."""
        if not clusters:
            return self._summary(values, seed)
        joined = cluster_sums(values, clusters)
        return replace(self._summary(joined, seed), total=len(values), clusters=len(joined))

    def paired(self, before: Pairs, after: Pairs, seed: int, clusters: Labels = ()) -> Paired:
        """Paired bootstrap over items, or over clusters."""
        if not clusters:
            return self._paired(before, after, seed)
        old, new = (cluster_sums(side, clusters) for side in (before, after))
        found = self._paired(old, new, seed)
        test = found.test + (_OF_CLUSTERS if found.p is not None else "")
        return replace(found, n_pairs=len(before), clusters=len(old), test=test)

    @abstractmethod
    def _summary(self, values: Pairs, seed: int) -> Summary: ...

    @abstractmethod
    def _paired(self, before: Pairs, after: Pairs, seed: int) -> Paired: ...


@dataclass(frozen=True)
class PerplexityKind(_OfSums):
    """``exp(Σ NLL / Σ tokens)`` over texts; a value is a text's NLL (nats) and its tokens.

    To pair texts that have other numbers of tokens before and after is a SettingsError.
    """

    shown: Shown = "perplexity"

    def _summary(self, values: Pairs, seed: int) -> Summary:
        nll, tokens = [each[0] for each in values], [each[1] for each in values]
        if not sum(tokens) or not all(map(math.isfinite, nll)):
            return Summary(len(values), math.nan if values else None)
        interval = None
        if not too_few(len(nll)):
            found = statistics.ratio_interval(nll, tokens, seed)
            interval = Interval(_exp(found.low), _exp(found.high))
        return Summary(len(nll), _exp(math.fsum(nll) / sum(tokens)), *_ends(interval))

    def _paired(self, before: Pairs, after: Pairs, seed: int) -> Paired:
        tokens = [count for _, count in before]
        if tokens != [count for _, count in after]:
            raise SettingsError(
                "the same texts have other numbers of tokens before and after: the two models "
                "have different tokenizers, so their perplexities can't be compared."
            )
        if too_few(len(tokens)):
            return _untested(self, before, after)
        return _told(
            statistics.paired_perplexity(
                [nll for nll, _ in before], [nll for nll, _ in after], tokens, seed
            )
        )


@dataclass(frozen=True)
class Rate(_OfSums):
    """Σ uses / Σ size, times ``per``; a value is an item's uses and its size.

    Where uses are counted and there is none, the upper end is the exact Poisson bound: resampling
    nothing gives nothing.
    """

    per: float = 1.0
    counted: bool = True
    shown: Shown = "mean"

    def _summary(self, values: Pairs, seed: int) -> Summary:
        uses, sizes = [each[0] for each in values], [each[1] for each in values]
        used, total = math.fsum(uses), math.fsum(sizes)
        if not total:
            return Summary(len(values))
        interval = None
        if not too_few(len(values)):
            interval = Interval(0.0, -math.log(0.025) / total)
            if used or not self.counted:
                # A resample of empty items alone has no rate; a tiny size is as good as none.
                interval = statistics.ratio_interval(uses, [max(n, 1e-9) for n in sizes], seed)
        value = self.per * used / total
        if interval is None:
            return Summary(len(values), value)
        return Summary(len(values), value, self.per * interval.low, self.per * interval.high)

    def _paired(self, before: Pairs, after: Pairs, seed: int) -> Paired:
        if too_few(len(before)):
            return _untested(self, before, after)
        found = statistics.paired_ratio(before, after, seed)
        scaled = {name: self.per * getattr(found, name) for name in ("difference", "low", "high")}
        return _told(replace(found, **scaled))


PROPORTION, MEAN, PERPLEXITY = Proportion(), Mean(), PerplexityKind()
_RATIO = Rate(counted=False)
_OF_CLUSTERS = " of clusters"


def _told(found: PairedMeans) -> Paired:
    if not all(map(math.isfinite, (found.difference, found.low, found.high))):
        # Beyond a float in some resample: there is no interval to test by.
        known = math.isfinite(found.difference)
        return Paired(found.n, found.difference if known else None)
    return Paired(
        found.n, found.difference, found.low, found.high, found.p,
        test="exact randomisation" if statistics.exact(found.n) else "paired bootstrap",
    )  # fmt: skip


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (interval.low, interval.high) if interval else (None, None)


def _untested(kind: Kind, before: Sequence[Any], after: Sequence[Any]) -> Paired:
    """The difference alone, of too few items for a test."""
    old, new = (kind.summary(side, 0).value for side in (before, after))
    known = old is not None and new is not None and math.isfinite(new - old)
    return Paired(len(before), new - old if known else None, test=TOO_FEW)  # type: ignore[operator]


def _exp(value: float) -> float:
    """Infinite where the result is beyond a float, which a ruined model reaches."""
    return math.exp(value) if value < 700 else math.inf
