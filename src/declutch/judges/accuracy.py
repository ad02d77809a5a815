"""How well verdicts agree with labels: accuracy, precision and recall of «aware»."""

from __future__ import annotations

from collections.abc import Sequence

from declutch.comparing.kinds import PROPORTION
from declutch.comparing.results import Metric
from declutch.comparing.series import Series


def label_metrics(
    name: str, dimension: str | None, said: Sequence[bool | None], aware: Sequence[bool]
) -> tuple[Metric, ...]:
    """Accuracy, precision and recall, with counts and Wilson intervals.

    Args:
        name: what the metrics' names begin with.
        said: the judge's verdicts, True for aware; None for unparsed, which counts as wrong for
            the accuracy and as not found for the recall, and never for the precision.
        aware: the labels.
    """
    pairs = list(zip(said, aware, strict=True))
    rows = [
        ("accuracy", [f == a for f, a in pairs], "verdicts that are as the label says"),
        ("precision_aware", [a for f, a in pairs if f], "labelled aware of those called aware"),
        ("recall_aware", [bool(f) for f, a in pairs if a], "called aware of those labelled aware"),
        ("unparsed", [f is None for f, _ in pairs], "counted as wrong above"),
    ]
    return tuple(
        Series(
            f"{name}/{what}", PROPORTION, {str(n): value for n, value in enumerate(values)},
            dimension, better="lower" if what == "unparsed" else "higher", note=note,
        ).metric("agreement")
        for what, values, note in rows
    )  # fmt: skip
