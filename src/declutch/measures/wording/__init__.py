"""Wording: how often replies use cautionary phrases (the paper's figure 7), given or found.

Given phrases are counted in every evaluation; found ones are those whose use changes most between
two (:mod:`.shift`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from declutch.comparing.comparison import MeasureTable
from declutch.comparing.kinds import Rate
from declutch.comparing.results import MeasureFacts
from declutch.comparing.series import Series
from declutch.items import Item
from declutch.measures.base import MEASURES, Evidence, Measure
from declutch.measures.wording.phrases import PER, occurrences, phrase_key, phrases_for, words

# For each dimension the words of each reply, by what it is paired by.
Replies = Mapping[str, Mapping[str, Sequence[str]]]
_SHOWN = 10


@MEASURES.register("wording")
class Wording(Measure[Item]):
    """For each dimension and phrase, how often it is used in 1,000 words of reply."""

    facts = MeasureFacts(
        name="wording",
        title="Wording",
        note="uses in 1,000 words of reply",
        family="wording",
        items="reply",
        quiet=True,
    )
    order = 90

    def series(self, evidence: Evidence) -> list[Series]:
        """One for each dimension and phrase."""
        found = []
        for dimension, texts in replies_by_dimension(evidence).items():
            for phrase in phrases_for(dimension):
                key = phrase_key(phrase)
                values = {k: (occurrences(text, key), len(text)) for k, text in texts.items()}
                used, total = (sum(pair[n] for pair in values.values()) for n in (0, 1))
                note = f"in 1,000 words: {used} times in {total:,} words of {len(texts)} replies"
                name = f"wording/{dimension}/{phrase}"
                found.append(Series(name, Rate(PER), values, dimension, note=note))
        return found

    def table(self, before: Evidence, after: Evidence, seed: int = 0) -> MeasureTable | None:
        """The phrases whose use changed most."""
        from declutch.measures.wording.shift import shifted_phrases

        old, new = replies_by_dimension(before), replies_by_dimension(after)
        clusters = {**after.clusters, **before.clusters}
        rows = [
            row
            for dimension in old
            if dimension in new
            for row in shifted_phrases(
                dimension, old[dimension], new[dimension], most=_SHOWN, seed=seed, clusters=clusters
            )
        ]
        if not rows:
            return None
        columns = ("Phrase", "Before", "After", "per 1,000 words, 95 %", "p Holm")
        cells = [
            (
                f"{row.dimension}: {row.phrase}",
                f"{row.before} ({row.before_replies} replies)",
                f"{row.after} ({row.after_replies} replies)",
                f"{row.low:+.1f} to {row.high:+.1f}",
                f"{row.p_holm:.3f}" if row.p_holm >= 0.001 else "<0.001",
            )
            for row in rows
        ]
        return MeasureTable("Phrases found to shift", columns, cells, [asdict(row) for row in rows])


def replies_by_dimension(evidence: Evidence) -> Replies:
    """For each dimension the words of each reply to its awareness prompts."""
    found: dict[str, dict[str, list[str]]] = {}
    for each in evidence.sets_of("awareness"):
        own = {row.pairing: words(row.shown) for row in evidence.rows(each)}
        found.setdefault(each.dimension, {}).update(own)
    return found
