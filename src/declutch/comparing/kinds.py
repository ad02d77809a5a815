"""Kinds of metric: how the values of items become one number, and how two sets are compared.

A kind is one object. What a value is depends on it: yes or no, a number, a pair of numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from declutch.comparing import statistics
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
    """

    total: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Paired:
    """After minus before over the same items.

    Attributes:
        difference: with its 95 % interval ``low`` to ``high``; None where it can't be told.
        gained, lost: for proportions, items that came to count and that ceased to.
        test: which test, in words; «too few to tell» where none could be made, empty where none is.
        effect: effect size, signed (Cohen's h for proportions, d_z for means: ``effect_name``).
        prompts_needed: for proportions, with how many prompts a difference of this size would be
            seen (power 0.8, level 0.05), if as many verdicts change as here.
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


class Kind(Protocol):
    """What a metric is.

    Attributes:
        shown: how its numbers are written: as a share, a plain number, or a perplexity.
    """

    @property
    def shown(self) -> Shown: ...

    def summary(self, values: Sequence[Any], seed: int) -> Summary:
        """The metric's number over the values of its items."""
        ...

    def paired(self, before: Sequence[Any], after: Sequence[Any], seed: int) -> Paired:
        """The test of two sets of values of the same items, in the same order."""
        ...


@dataclass(frozen=True)
class Proportion:
    """The share of items that are so; a value is yes or no."""

    shown: Shown = "proportion"

    def summary(self, values: Sequence[bool], seed: int) -> Summary:
        """With Wilson's interval."""
        total, count = len(values), sum(values)
        if not total:
            return Summary(0, count=0)
        interval = None if too_few(total) else statistics.wilson(count, total)
        return Summary(total, count / total, *_ends(interval), count=count)

    def paired(self, before: Sequence[bool], after: Sequence[bool], seed: int) -> Paired:
        """McNemar's exact test, with Tango's interval."""
        found = statistics.mcnemar_exact(before, after)
        told = Paired(found.n, found.difference, gained=found.gained, lost=found.lost, test=TOO_FEW)
        if too_few(found.n):
            return told
        needed = None
        if found.gained != found.lost:
            changed = (found.gained + found.lost) / found.n
            needed = statistics.prompts_needed(found.difference, changed)
        return replace(
            told, low=found.low, high=found.high, p=found.p, test="exact McNemar",
            effect=statistics.cohens_h(sum(after) / found.n, sum(before) / found.n),
            effect_name="Cohen's h", prompts_needed=needed,
        )  # fmt: skip


@dataclass(frozen=True)
class Mean:
    """The mean of the items' numbers."""

    shown: Shown = "mean"

    def summary(self, values: Sequence[float], seed: int) -> Summary:
        """With a bootstrap interval, exact for few items."""
        if not values or not all(map(math.isfinite, values)):
            return Summary(len(values), math.nan if values else None)
        interval = None if too_few(len(values)) else statistics.mean_interval(values, seed)
        return Summary(len(values), math.fsum(values) / len(values), *_ends(interval))

    def paired(self, before: Sequence[float], after: Sequence[float], seed: int) -> Paired:
        """Paired bootstrap, exact for few items."""
        if too_few(len(before)):
            return _untested(self, before, after)
        effect = statistics.cohens_dz(before, after)
        found = _told(statistics.paired_bootstrap(before, after, seed))
        return replace(found, effect=effect, effect_name="" if effect is None else "d_z")


@dataclass(frozen=True)
class PerplexityKind:
    """``exp(Σ NLL / Σ tokens)`` over texts; a value is a text's NLL (nats) and its tokens."""

    shown: Shown = "perplexity"

    def summary(self, values: Sequence[tuple[float, int]], seed: int) -> Summary:
        """With a bootstrap interval over the texts."""
        nll, tokens = [each[0] for each in values], [each[1] for each in values]
        if not sum(tokens) or not all(map(math.isfinite, nll)):
            return Summary(len(values), math.nan if values else None)
        interval = None
        if not too_few(len(nll)):
            found = statistics.ratio_interval(nll, tokens, seed)
            interval = Interval(_exp(found.low), _exp(found.high))
        return Summary(len(nll), _exp(math.fsum(nll) / sum(tokens)), *_ends(interval))

    def paired(
        self, before: Sequence[tuple[float, int]], after: Sequence[tuple[float, int]], seed: int
    ) -> Paired:
        """Paired bootstrap over the texts.

        Raises:
            SettingsError: the same texts have other numbers of tokens.
        """
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
class Rate:
    """Σ uses / Σ size, times ``per``; a value is an item's uses and its size.

    Where nothing is used, the upper end is the exact Poisson bound: resampling nothing gives
    nothing.
    """

    per: float = 1.0
    shown: Shown = "mean"

    def summary(self, values: Sequence[tuple[float, float]], seed: int) -> Summary:
        """With a bootstrap interval over items."""
        uses, sizes = [each[0] for each in values], [each[1] for each in values]
        used, total = math.fsum(uses), math.fsum(sizes)
        if not total:
            return Summary(len(values))
        interval = None
        if not too_few(len(values)):
            interval = Interval(0.0, -math.log(0.025) / total)
            if used:
                # A resample of empty items alone has no rate; a tiny size is as good as none.
                interval = statistics.ratio_interval(uses, [max(n, 1e-9) for n in sizes], seed)
        value = self.per * used / total
        if interval is None:
            return Summary(len(values), value)
        return Summary(len(values), value, self.per * interval.low, self.per * interval.high)

    def paired(
        self, before: Sequence[tuple[float, float]], after: Sequence[tuple[float, float]], seed: int
    ) -> Paired:
        """Paired bootstrap over items."""
        if too_few(len(before)):
            return _untested(self, before, after)
        found = statistics.paired_ratio(before, after, seed)
        scaled = {name: self.per * getattr(found, name) for name in ("difference", "low", "high")}
        return _told(replace(found, **scaled))


PROPORTION, MEAN, PERPLEXITY = Proportion(), Mean(), PerplexityKind()


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
