"""Phrases whose use changes most between two evaluations.

Log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi, Quinn, «Fightin' Words»,
Political Analysis 16 (2008) 372).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from declutch.comparing import statistics
from declutch.comparing.clusters import Labels, cluster_labels, cluster_sums
from declutch.comparing.enough import too_few
from declutch.measures.wording.phrases import PER, occurrences

LONGEST = 3
_LEAST_REPLIES = 3  # that hold a phrase, before or after


@dataclass(frozen=True, slots=True)
class WordingRow:
    """A phrase whose use differs between two evaluations.

    Attributes:
        before, after: how often it is used; ``before_replies``, ``after_replies``: in how many
            replies.
        before_rate, after_rate: times in 1,000 words.
        low, high: 95 % interval of the difference of the two rates, by bootstrap over replies, or
            their clusters.
        log_odds: above 0 where it is used more after.
        z: the log-odds in standard errors, under words that come independently of each other.
        p_holm: of z, adjusted by Holm for all phrases of the dimension that were looked at.
    """

    dimension: str
    phrase: str
    before: int
    after: int
    before_replies: int
    after_replies: int
    before_rate: float
    after_rate: float
    low: float
    high: float
    log_odds: float
    z: float
    p_holm: float


def log_odds(
    before: Mapping[Any, int], after: Mapping[Any, int], prior: float
) -> dict[Any, tuple[float, float]]:
    """Log-odds ratio (after against before) and its z for each entry of two counts.

    Monroe et al. 2008, section on informative priors, with the prior in proportion to both counts
    together.

    Args:
        prior: the prior's weight, in words.
    """
    total = Counter(before) + Counter(after)
    n_before, n_after, n = sum(before.values()), sum(after.values()), sum(total.values())
    found = {}
    for entry, count in total.items():
        weight = prior * count / n
        old, new = before.get(entry, 0) + weight, after.get(entry, 0) + weight
        ratio = math.log(new / max(n_after + prior - new, 1e-9)) - math.log(
            old / max(n_before + prior - old, 1e-9)
        )
        found[entry] = ratio, ratio / math.sqrt(1 / new + 1 / old)
    return found


def shifted_phrases(
    dimension: str,
    before: Mapping[str, Sequence[str]],
    after: Mapping[str, Sequence[str]],
    *,
    most: int = 20,
    prior: float = 500.0,
    seed: int = 0,
    clusters: Mapping[str, str] | None = None,
) -> list[WordingRow]:
    """The phrases of one dimension, over the replies that both have, the clearest shift first."""
    keys = [key for key in before if key in after]
    labels = cluster_labels(keys, clusters) or keys
    if too_few(len(set(labels))):
        return []
    old, new = [before[key] for key in keys], [after[key] for key in keys]
    candidates: list[_Candidate] = []
    for size in range(1, LONGEST + 1):
        counts = [Counter(g for text in side for g in _grams(text, size)) for side in (old, new)]
        spread = Counter(gram for text in (*old, *new) for gram in set(_grams(text, size)))
        # Odds are among phrases of one length: those of other lengths overlap with them.
        for gram, (ratio, z) in log_odds(counts[0], counts[1], prior).items():
            if spread[gram] >= _LEAST_REPLIES:
                change = counts[1][gram] - counts[0][gram]
                candidates.append(_Candidate(gram, change, ratio, z))
    adjusted = statistics.holm([2 * float(stats.norm.sf(abs(each.z))) for each in candidates])
    ranked = sorted(
        zip(candidates, adjusted, strict=True), key=lambda pair: (-abs(pair[0].z), pair[0].gram)
    )
    taken: list[_Candidate] = []
    rows: list[WordingRow] = []
    for each, p in ranked:
        if len(rows) == most:
            break
        if each.z and not any(each.repeats(one) for one in taken):
            taken.append(each)
            rows.append(_row(dimension, each, old, new, labels, p, seed))
    return rows


@dataclass(frozen=True, slots=True)
class _Candidate:
    gram: tuple[str, ...]
    change: int
    ratio: float
    z: float

    def repeats(self, other: _Candidate) -> bool:
        """Whether it says again what an overlapping, stronger phrase says: mostly its change.

        Two phrases overlap where one is in the other, or where they share two words in a row.
        """
        overlaps = (
            occurrences(other.gram, self.gram)
            or occurrences(self.gram, other.gram)
            or set(_grams(self.gram, 2)) & set(_grams(other.gram, 2))
        )
        return bool(overlaps) and abs(self.change - other.change) < 0.5 * abs(other.change)


def _row(
    dimension: str,
    found: _Candidate,
    old: Sequence[Sequence[str]],
    new: Sequence[Sequence[str]],
    clusters: Labels,
    p: float,
    seed: int,
) -> WordingRow:
    counts = [[occurrences(text, found.gram) for text in side] for side in (old, new)]
    lengths = [[len(text) for text in side] for side in (old, new)]
    before, after = (
        cluster_sums(list(zip(*side, strict=True)), clusters)
        for side in zip(counts, lengths, strict=True)
    )
    change = statistics.paired_ratio(before, after, seed)
    rates = [PER * sum(c) / max(sum(n), 1) for c, n in zip(counts, lengths, strict=True)]
    used = [int(np.count_nonzero(c)) for c in counts]
    return WordingRow(
        dimension, " ".join(found.gram), sum(counts[0]), sum(counts[1]), used[0], used[1],
        rates[0], rates[1], PER * change.low, PER * change.high, found.ratio, found.z, p,
    )  # fmt: skip


def _grams(text: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(text[start : start + size]) for start in range(len(text) - size + 1)]
