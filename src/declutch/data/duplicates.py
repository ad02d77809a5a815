"""Near-duplicates within a set of texts, the clusters they make, and what two sets share.

Two texts are compared by the word 3-grams that they contain: the Jaccard similarity, shared ones
over all, is 1 for the same words in the same order and 0 where no three words in a row are shared.
Letter case, punctuation and spacing do not count. A text of fewer than three words is one gram.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from declutch.errors import SettingsError

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_GRAM = 3


class Match(NamedTuple):
    """Two texts, by their places in what was given, and their similarity."""

    first: int
    second: int
    similarity: float


def near_duplicates(texts: Sequence[str], threshold: float = 0.5) -> list[Match]:
    """Every pair of texts whose similarity is at least ``threshold``, most similar first.

    Raises:
        SettingsError: the threshold is not above 0 and at most 1.
    """
    grams = [word_grams(text) for text in texts]
    pairs = (match for match in _matches(grams, grams, threshold) if match.first < match.second)
    return sorted(pairs, key=_most_similar_first)


def find_clusters(ids: Sequence[str], texts: Sequence[str], known: Sequence[str]) -> list[str]:
    """For each text the cluster that it belongs to, called by the id of its first; «» if alone.

    Texts of one known cluster, and near-duplicates, belong together, and so does all that a chain
    of such pairs connects. Of a known cluster the first text alone is looked at.

    Args:
        known: what each text is known to belong to, such as a template; «» for nothing.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first: dict[str, int] = {}
    links = [(n, first.setdefault(name, n)) for n, name in enumerate(known) if name]
    members = {n for n, leader in links if n != leader}
    looked_at = [n for n in range(len(texts)) if n not in members]
    matches = near_duplicates([texts[n] for n in looked_at])
    links += [(looked_at[match.first], looked_at[match.second]) for match in matches]
    if not links:
        return ["" for _ in ids]
    rows, columns = zip(*links, strict=True)
    edges = coo_array(([1] * len(links), (rows, columns)), shape=(len(ids), len(ids)))
    places = connected_components(edges, directed=False)[1].tolist()
    sizes = Counter(places)
    names = dict(reversed(list(zip(places, ids, strict=True))))
    return [names[place] if sizes[place] > 1 else "" for place in places]


def overlap(first: Sequence[str], second: Sequence[str], threshold: float = 0.5) -> list[Match]:
    """Every pair of a text of one set and a text of another that are similar, most similar first.

    Raises:
        SettingsError: the threshold is not above 0 and at most 1.
    """
    grams = [word_grams(text) for text in first], [word_grams(text) for text in second]
    return sorted(_matches(*grams, threshold), key=_most_similar_first)


def word_grams(text: str) -> frozenset[str]:
    """The word 3-grams of a text; empty for a text without words."""
    words = _WORD.findall(text.casefold())
    if not words:
        return frozenset()
    last = max(1, len(words) - _GRAM + 1)
    return frozenset(" ".join(words[start : start + _GRAM]) for start in range(last))


def _most_similar_first(match: Match) -> tuple[float, int, int]:
    return -match.similarity, match.first, match.second


def _matches(
    first: list[frozenset[str]], second: list[frozenset[str]], threshold: float
) -> Iterable[Match]:
    """All pairs at or above the threshold, exactly, without comparing every pair.

    With grams in one order, the rare ones first, two sets of Jaccard similarity t or more must
    share one of the first n - ceil(t n) + 1 grams of each (n: the set's size), so an index of
    those few rare grams finds every candidate.
    """
    if not 0 < threshold <= 1:
        raise SettingsError(f"The threshold must be above 0 and at most 1; it is {threshold}.")
    counts = Counter(gram for grams in (*first, *second) for gram in grams)

    def rare(grams: frozenset[str]) -> list[str]:
        ordered = sorted(grams, key=lambda gram: (counts[gram], gram))
        # The margin keeps rounding from cutting one gram too many.
        return ordered[: len(grams) - math.ceil(threshold * len(grams) - 1e-9) + 1]

    index: dict[str, list[int]] = defaultdict(list)
    for place, grams in enumerate(second):
        for gram in rare(grams):
            index[gram].append(place)
    for place, grams in enumerate(first):
        for other in {other for gram in rare(grams) for other in index.get(gram, ())}:
            shared = len(grams & second[other])
            similarity = shared / (len(grams) + len(second[other]) - shared)
            if similarity >= threshold:
                yield Match(place, other, similarity)
