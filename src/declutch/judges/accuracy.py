"""How well verdicts agree with labels: accuracy, precision and recall of «aware»."""

from __future__ import annotations

from collections.abc import Sequence

from declutch.comparing.results import Metric, proportion


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
    right = sum(found is not None and found == label for found, label in pairs)
    called = [label for found, label in pairs if found is True]
    wanted = [found is True for found, label in pairs if label]
    unparsed = sum(found is None for found, _ in pairs)
    rows = [
        ("accuracy", right, len(pairs), "verdicts that are as the label says"),
        ("precision_aware", sum(called), len(called), "labelled aware of those called aware"),
        ("recall_aware", sum(wanted), len(wanted), "called aware of those labelled aware"),
        ("unparsed", unparsed, len(pairs), "counted as wrong above"),
    ]
    return tuple(
        proportion(
            f"{name}/{what}", count, total, group="agreement", dimension=dimension,
            better="lower" if what == "unparsed" else "higher", note=note,
        )
        for what, count, total, note in rows
    )  # fmt: skip
