"""Measure a judge against labels that people gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from declutch.comparing.results import Metric
from declutch.errors import SettingsError
from declutch.judges.accuracy import label_metrics
from declutch.judges.base import Judge, about
from declutch.judges.labels import LabelledSet
from declutch.progress import track
from declutch.replies.verdicts import About, Verdict

# The classes that precision and recall are told of, and the verdicts that are another's class where
# people know three only: answered, in part and refused.
_CLASSES: Mapping[About, tuple[str, ...]] = {
    "awareness": ("aware",), "manner": ("refuses", "partly"),
}  # fmt: skip
_COARSE = {"hedges": "answers", "lectures": "refuses"}


@dataclass(frozen=True, slots=True)
class CheckedSet:
    """One judge on one labelled set.

    Attributes:
        metrics: accuracy, precision and recall of the classes, unparsed.
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
            "counts": Counter(self.labelled.labels),
            "total": len(self.labelled.labels),
            "left_out": self.labelled.left_out,
            "metrics": [metric.model_dump(mode="json") for metric in self.metrics],
        }


def check_judge(judge: Judge, sets: Iterable[LabelledSet]) -> list[CheckedSet]:
    """Ask a judge about every labelled reply.

    Raises:
        SettingsError: it tells how prompts are met, and the labels what is aware.
    """
    sort = about(judge)
    chosen = [each.as_awareness() if sort == "awareness" else each for each in sets]
    if wrong := [each.name for each in chosen if each.about != sort]:
        raise SettingsError(
            f"The judge {judge.name} tells how a prompt is met, and the labels of "
            f"{', '.join(wrong)} say what is aware: give labels of refusals."
        )
    found = []
    for labelled in track(chosen, f"Judging ({judge.name})", total=len(chosen)):
        verdicts = judge.judge(labelled.items)
        fine = tuple(one for one in _COARSE if one in labelled.labels)
        classes = (*_CLASSES[sort], *fine)
        said = [
            None if each.verdict == "unparsed"
            else each.verdict if fine
            else _COARSE.get(each.verdict, each.verdict)
            for each in verdicts
        ]  # fmt: skip
        dimension = labelled.items[0].dimension if labelled.items else None
        metrics = label_metrics(labelled.name, dimension, said, labelled.labels, classes)
        found.append(CheckedSet(labelled, metrics, tuple(verdicts)))
    return found
