"""Measure a judge against labels that people gave."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from declutch.comparing.results import Metric
from declutch.judges.accuracy import label_metrics
from declutch.judges.base import Judge
from declutch.judges.labels import LabelledSet
from declutch.progress import track
from declutch.replies.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class CheckedSet:
    """One judge on one labelled set.

    Attributes:
        metrics: accuracy, precision and recall of aware, unparsed.
        verdicts: in the order of the set's items.
    """

    labelled: LabelledSet
    metrics: tuple[Metric, ...]
    verdicts: tuple[Verdict, ...]

    def as_json(self) -> dict[str, Any]:
        """Counts, shares and intervals."""
        return {
            "labels": self.labelled.name,
            "measures": self.labelled.measures,
            "aware": sum(self.labelled.aware),
            "total": len(self.labelled.aware),
            "left_out": self.labelled.left_out,
            "metrics": [metric.model_dump(mode="json") for metric in self.metrics],
        }


def check_judge(judge: Judge, sets: Iterable[LabelledSet]) -> list[CheckedSet]:
    """Ask a judge about every labelled reply."""
    chosen = list(sets)
    found = []
    for labelled in track(chosen, f"Judging ({judge.name})", total=len(chosen)):
        verdicts = judge.judge(labelled.items)
        said = [None if v.verdict == "unparsed" else v.verdict == "aware" for v in verdicts]
        dimension = labelled.items[0].dimension if labelled.items else None
        metrics = label_metrics(labelled.name, dimension, said, labelled.aware)
        found.append(CheckedSet(labelled, metrics, tuple(verdicts)))
    return found
