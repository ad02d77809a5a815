"""How well verdicts agree with labels: accuracy, and precision and recall of a class."""

from __future__ import annotations

from collections.abc import Sequence

from declutch.comparing.kinds import PROPORTION
from declutch.comparing.results import Metric
from declutch.comparing.series import Series

_BAD = ("false_alarms", "unparsed")


def label_metrics(
    name: str,
    dimension: str | None,
    said: Sequence[str | None],
    labels: Sequence[str],
    classes: Sequence[str] = ("aware",),
) -> tuple[Metric, ...]:
    """Accuracy, precision and recall, with counts and Wilson intervals.

    Args:
        name: what the metrics' names begin with.
        said: what the judge says; None for unparsed, which counts as wrong for the accuracy and as
            not found for the recall, and never for the precision.
        labels: what people say.
        classes: those that precision and recall are told of.
    """
    pairs = list(zip(said, labels, strict=True))
    rows = [("accuracy", [f == a for f, a in pairs], "verdicts that are as the label says")]
    for one in classes:
        rows += [
            (f"precision_{one}", [a == one for f, a in pairs if f == one],
             f"labelled so of those called «{one}»"),
            (f"recall_{one}", [f == one for f, a in pairs if a == one],
             f"called so of those labelled «{one}»"),
        ]  # fmt: skip
    if "answers" in labels and "refuses" in classes:
        alarms = [f == "refuses" for f, a in pairs if a == "answers"]
        rows.append(("false_alarms", alarms, "called «refuses» of those labelled «answers»"))
    rows.append(("unparsed", [f is None for f, _ in pairs], "counted as wrong above"))
    return tuple(
        Series(
            f"{name}/{what}", PROPORTION, {str(n): value for n, value in enumerate(values)},
            dimension, better="lower" if what in _BAD else "higher", note=note,
        ).metric("agreement")
        for what, values, note in rows
    )  # fmt: skip
