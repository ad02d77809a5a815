"""Dependence: how much the representations of two dimensions depend on each other, by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from declutch.comparing.clusters import Labels
from declutch.comparing.kinds import Paired, Shown, Summary
from declutch.comparing.results import MeasureFacts
from declutch.comparing.series import Series
from declutch.measures.base import MEASURES, Evidence, Measure, Part, Subject
from declutch.measures.dependence.rows import (
    ALL,
    DependenceItem,
    dependence_change,
    paired_prompts,
    suite_dependence,
)


@dataclass(frozen=True)
class Permuted:
    """A value with its permutation null; the one item is the row.

    No interval is given: resampling pairs doubles some of them, and doubled pairs look dependent.
    """

    shown: Shown = "mean"

    def summary(
        self, values: Sequence[DependenceItem], seed: int, clusters: Labels = ()
    ) -> Summary:
        """The value alone."""
        (row,) = values
        return Summary(row.pairs, row.value)

    def paired(
        self,
        before: Sequence[DependenceItem],
        after: Sequence[DependenceItem],
        seed: int,
        clusters: Labels = (),
    ) -> Paired:
        """How often another pairing of the same prompts changes as much."""
        return dependence_change(before[0], after[0])


@MEASURES.register("dependence")
class Dependence(Measure[DependenceItem]):
    """HSIC, normalised HSIC and linear CKA at every layer and pooling."""

    facts = MeasureFacts(
        name="dependence",
        title="Dependence by layer",
        note="of the representations of two dimensions, with a permutation test",
        family="dependence",
        items="pair",
    )
    needs = "weights"
    usual = False
    order = 80
    item = DependenceItem

    def asked(self, subject: Subject) -> bool:
        """Only where a pairing is named: prompts of two dimensions have none of their own."""
        return subject.settings.dependence is not None

    def check(self, subject: Subject) -> list[str]:
        """See that there are two dimensions, with enough prompts."""
        paired_prompts(subject.suite)
        return []

    def parts(self, subject: Subject) -> list[Part]:
        """One: it takes a forward pass a prompt."""
        pairing, seed = subject.settings.dependence, subject.settings.seed

        def run() -> tuple[list[DependenceItem], dict[str, Any]]:
            assert subject.model is not None
            assert subject.encoder is not None
            found = suite_dependence(
                subject.model, subject.encoder, subject.suite, pairing=pairing, seed=seed
            )
            return found, {}

        return [Part(ALL, run, {"pairing": pairing, "seed": seed})]

    def series(self, evidence: Evidence) -> list[Series]:
        """One for each layer; the note has the range that other pairings give."""
        return [
            Series(item.name, Permuted(), {item.name: item}, note=_note(item))
            for item in evidence.of(self)
        ]


def _note(item: DependenceItem) -> str:
    low, high = np.quantile(item.null, [0.025, 0.975])
    return (
        f"{item.estimator}; pairs by {item.pairing}; p = {item.p:.3g} over {len(item.null)} other "
        f"pairings, of which 95 % lie in {low:.3g} to {high:.3g}"
    )
