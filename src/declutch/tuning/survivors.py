"""Survivors: the candidates that get replies to the tuning prompts, and what those replies show.

Half of them are chosen by what the cheap measures are held to be worth beforehand; how well each
measure predicted the replies then says what it is worth for choosing the other half.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats

from declutch.tuning.record import Generated
from declutch.tuning.search import Tried

GAIN = "gain"
# What a rise of each is held to be worth before anything is known of this model. On the models of
# docs/tune.md answering harmless prompts more readily came with less awareness, so that nothing is
# expected of it: limits and guards see to what harmless prompts may lose.
PRIOR: Mapping[str, float] = {
    GAIN: 1.0, "opening/harmful": 0.5, "nll": -0.25, "opening/harmless": -0.25,
    "margin/harmless": 0.0, "kl": 0.0,
}  # fmt: skip
# The prior counts like so many survivors.
_PRIOR_COUNT = 4
_LEAST = 4  # a rank correlation over fewer says nothing


def generate(
    tried: Sequence[Tried], count: int, replies: Callable[[Tried], Generated]
) -> tuple[list[Generated], dict[str, dict[str, float | None]]]:
    """Let the most promising candidates reply.

    Args:
        tried: all that were measured; those beyond the limits never get replies.
        count: how many may.
        replies: what a candidate's replies show.

    Returns:
        What was found, and what each cheap measure was worth.
    """
    allowed = [one for one in tried if one.feasible]
    worth: dict[str, float] = dict(PRIOR)
    chosen = _first(allowed, worth, math.ceil(count / 2))
    found = [(one, replies(one)) for one in chosen]
    correlations = _correlations(found)
    n = len(found)
    for name, rho in correlations.items():
        if rho is not None:
            worth[name] = (_PRIOR_COUNT * worth[name] + n * rho) / (_PRIOR_COUNT + n)
    rest = [one for one in allowed if one not in chosen]
    found += [(one, replies(one)) for one in ranked(rest, allowed, worth)[: count - n]]
    correlations = _correlations(found)
    predictors: dict[str, dict[str, float | None]] = {
        name: {"correlation": correlations[name], "weight": worth[name]} for name in correlations
    }
    return [one for _, one in found], predictors


def _first(allowed: Sequence[Tried], worth: Mapping[str, float], count: int) -> list[Tried]:
    """The best of each rule, so that the paper's own has its chance; then the best by each measure.

    Edits that differ tell what a measure is worth; the best few by one ranking are often alike.
    """
    order = ranked(allowed, allowed, worth)
    rules = dict.fromkeys(one.candidate.settings.rule for one in order)
    first = [next(one for one in order if one.candidate.settings.rule == rule) for rule in rules]
    for name, weight in worth.items():
        rest = [one for one in order if one not in first and _value(one, name) is not None]
        if rest and weight:
            first.append(max(rest, key=lambda one: weight * (_value(one, name) or 0.0)))
    rest = [one for one in order if one not in first]
    return [*first, *rest][: max(count, len(rules))]


def ranked(
    some: Sequence[Tried], among: Sequence[Tried], worth: Mapping[str, float] = PRIOR
) -> list[Tried]:
    """The most promising first: the sum of each measure's rank among all, times its worth."""
    score = dict.fromkeys((one.name for one in among), 0.0)
    for name, weight in worth.items():
        values = [_value(one, name) for one in among]
        if any(value is None for value in values) or len(among) < 2:
            continue
        for one, rank in zip(among, stats.rankdata(values), strict=True):
            score[one.name] += weight * (rank - 1) / (len(among) - 1)
    return sorted(some, key=lambda one: -score[one.name])


def _correlations(found: Sequence[tuple[Tried, Generated]]) -> dict[str, float | None]:
    """Spearman's rank correlation of each measure with the replies' gain; None if it has none."""
    correlations: dict[str, float | None] = {}
    for name in PRIOR:
        values = [_value(one, name) for one, _ in found]
        if not found or any(value is None for value in values):
            continue
        gains = [generated.gain for _, generated in found]
        rho = math.nan
        if len(found) >= _LEAST and min(np.ptp(gains), np.ptp(np.array(values, float))) > 0:
            rho = float(stats.spearmanr(values, gains).statistic)
        correlations[name] = rho if math.isfinite(rho) else None
    return correlations


def _value(one: Tried, name: str) -> float | None:
    if name == GAIN:
        return one.gain
    change = one.changes.get(name)
    return change.mean if change else None
