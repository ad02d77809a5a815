"""Statistics of items in clusters: replies to one prompt, near-duplicates, a template's prompts.

Clusters are taken as independent of each other, and the items of one are not. They are given as a
label for each item; where a cluster is an item, all is as :mod:`declutch.comparing.statistics` has
it. There must be at least two.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from declutch.comparing.statistics import (
    LEVEL,
    RESAMPLES,
    Interval,
    PairedProportions,
    kappas,
    percentiles,
    tango,
)

Labels = Sequence[Hashable]


def cluster_labels(keys: Sequence[str], clusters: Mapping[str, str] | None) -> Labels:
    """The cluster of each item by its id; nothing where each item is one by itself."""
    found = [(clusters or {}).get(key) or ("alone", key) for key in keys]
    return found if len(set(found)) < len(found) else ()


def cluster_sums(values: Sequence[Any], clusters: Labels) -> list[Any]:
    """Numbers, one or several an item, added up within each cluster: a tuple for each."""
    places: dict[Hashable, int] = {}
    rows = [places.setdefault(label, len(places)) for label in clusters]
    data = np.asarray(values, dtype=np.float64).reshape(len(rows), -1)
    sums = np.zeros((len(places), data.shape[1]))
    np.add.at(sums, rows, data)
    return [tuple(each) for each in sums.tolist()]


def independent_items(values: Sequence[float], clusters: Labels) -> float:
    """How many independent items would tell the mean of these values as well as they do.

    Their number over the design effect, which is the variance of the mean over clusters by that of
    as many independent items, and at least 1 (Rao and Scott, Biometrics 48 (1992) 577); times
    (z / t)², since the variance is told by a few clusters (Korn and Graubard, Survey Methodology 24
    (1998) 193). Where all values are the same nothing tells the design effect, and a cluster is
    taken to say no more than one of its items.
    """
    sizes = list(Counter(clusters).values())
    n, m = len(values), len(sizes)
    apart = np.asarray(values, dtype=np.float64) - np.mean(values)
    plain = float(apart @ apart) * n / (n - 1)
    if plain > 1e-12:
        together = math.fsum(total**2 for (total,) in cluster_sums(apart.tolist(), clusters))
        effect = max(1.0, together * m / (m - 1) / plain)
    else:
        effect = sum(size**2 for size in sizes) / n
    normal, student = (each.ppf((1 + LEVEL) / 2) for each in (stats.norm, stats.t(m - 1)))
    return float(n / effect * (normal / student) ** 2)


def clustered_wilson(values: Sequence[bool], clusters: Labels) -> Interval:
    """Wilson's interval of a share for as many items as the clusters are worth.

    Source: Franco, Little, Louis, Slud, Journal of Survey Statistics and Methodology 7 (2019) 334,
    who compare intervals of shares from clusters.
    """
    share, n = float(np.mean(values)), independent_items(values, clusters)
    z2 = float(stats.norm.ppf((1 + LEVEL) / 2)) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def clustered_mcnemar(
    before: Sequence[bool], after: Sequence[bool], clusters: Labels
) -> tuple[PairedProportions, float]:
    """Paired yes/no results of clusters: exact sign-flip test, and Tango's interval.

    Also what an item is worth: how many independent items tell as much, by the number of items.

    The p is that of :func:`sign_flip` on what each cluster gained less what it lost, which is
    McNemar's exact test where a cluster is an item. The interval is Tango's for as many items as
    the clusters are worth (:func:`independent_items` of the differences; the variance is that of
    Durkalski et al., Statistics in Medicine 22 (2003) 2417).
    """
    changes = [float(new) - float(old) for old, new in zip(before, after, strict=True)]
    n, gained, lost = len(changes), changes.count(1.0), changes.count(-1.0)
    worth = independent_items(changes, clusters) / n
    interval = tango(gained * worth, lost * worth, n * worth)
    p = sign_flip([int(total) for (total,) in cluster_sums(changes, clusters)])
    difference = (gained - lost) / n
    return PairedProportions(gained, lost, n, difference, interval.low, interval.high, p), worth


def sign_flip(totals: Sequence[int]) -> float:
    """Two-sided p of the sum of these where each might as well have had the other sign.

    Exact for any number: the distribution of the sum is computed, not drawn. It exchanges before
    and after cluster by cluster (Fisher 1935; of whole groups: Gail, Mark, Carroll, Green, Pee,
    Statistics in Medicine 15 (1996) 1069).
    """
    chances = np.ones(1)  # of each sum from its lowest to its highest
    for step in map(abs, totals):
        wider = np.zeros(len(chances) + 2 * step)
        wider[: len(chances)] += chances / 2
        wider[2 * step :] += chances / 2
        chances = wider
    sums = np.arange(len(chances)) - len(chances) // 2
    return min(1.0, float(chances[np.abs(sums) >= abs(sum(totals))].sum()))


def clustered_kappa(
    a: Sequence[Hashable], b: Sequence[Hashable], clusters: Labels, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of Cohen's kappa, resampling whole clusters."""
    labels = list(dict.fromkeys([*a, *b]))
    cells = [
        [float((first, second) == pair) for first in labels for second in labels]
        for pair in zip(a, b, strict=True)
    ]
    tables = cluster_sums(cells, clusters)
    counts = Counter(tables)  # there are few different ones
    chances = np.array(list(counts.values())) / len(tables)
    drawn = np.random.default_rng(seed).multinomial(len(tables), chances, size=RESAMPLES)
    sums = drawn @ np.array(list(counts))
    return percentiles(kappas(sums.reshape(-1, len(labels), len(labels))))
