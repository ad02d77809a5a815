"""Each item's outcome, read from lm-evaluation-harness by what the task declares.

What the harness logs of an item is a number, a log-likelihood with a length, or a pair (right
answer, given answer), and nothing in the value tells which: the task's metrics, how each is put
together over items (its aggregation) and its output type do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from declutch.errors import SettingsError
from declutch.measures.capability.tasks import CapabilityItem, OutcomeKind

Reading = Literal["right or wrong", "number", "log-likelihood and length", "log-likelihood", "pair"]
Direction = Literal["higher", "lower"]

# Of the metrics of a task that have an outcome an item, the first of these counts; else the first.
_FIRST: Final = ("acc", "exact_match", "acc_norm", "word_perplexity")
# Right or wrong, with 1 and 0 for them, where the harness itself makes them; a task that makes its
# outcomes by a function of its own may give parts of a point under the same name.
_RIGHT_OR_WRONG: Final = frozenset(
    {"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"}
)
# The harness's own aggregations, by the names of their functions.
_AGGREGATIONS: Final[Mapping[str, Reading]] = {
    "mean": "number",
    "nanmean": "number",
    "weighted_perplexity": "log-likelihood and length",
    "bits_per_byte": "log-likelihood and length",
    "perplexity": "log-likelihood",
}
# Made from (right answer, given answer) of all items at once. Where an answer is a choice, each
# item is right or wrong by itself too, which is the accuracy.
_OF_PAIRS: Final = frozenset({"matthews_corrcoef", "f1_score"})


@dataclass(frozen=True, slots=True)
class Scoring:
    """How an item's outcome is read.

    Attributes:
        metric: the harness's name of what counts.
        said: what a reader is told that it is.
        drops_nan: items to which the metric gives no number are left out, as the task does.
    """

    metric: str
    reading: Reading
    better: Direction
    said: str
    drops_nan: bool = False


def scoring(name: str, task: Any) -> Scoring:
    """Which of a task's metrics counts, and how it is read.

    Args:
        task: the harness's task.

    Raises:
        SettingsError: each of its metrics is made from all items at once.
    """
    aggregations = {
        metric: str(getattr(function, "__name__", function))
        for metric, function in task.aggregation().items()
    }
    own = callable(getattr(getattr(task, "config", None), "process_results", None))
    readings = {
        metric: reading
        for metric, aggregation in aggregations.items()
        if (reading := _reading(metric, aggregation, str(task.OUTPUT_TYPE), own=own))
    }
    # A pair only where there is nothing else: it gives another measure than the task's own.
    usable = [m for m in readings if readings[m] != "pair"] or list(readings)
    if not usable:
        each = ", ".join(f"{metric} by {how}" for metric, how in aggregations.items())
        raise SettingsError(
            f"The capability task {name} is scored over all its items at once ({each or 'nothing'})"
            ", so there is no outcome of each item to compare. Give another task, or one of your "
            "own (a YAML file) with a metric whose aggregation is «mean»."
        )
    metric = next((one for one in _FIRST if one in usable), usable[0])
    reading = readings[metric]
    if reading == "pair":
        return Scoring(metric, reading, "higher", f"accuracy of the answers behind {metric}")
    up = reading == "right or wrong" or task.higher_is_better().get(metric, True)
    return Scoring(
        metric,
        reading,
        "higher" if up and reading in _RISING else "lower",
        f"{metric} as perplexity" if aggregations[metric] == "bits_per_byte" else metric,
        drops_nan=aggregations[metric] == "nanmean",
    )


_RISING: Final = ("right or wrong", "number")


def _reading(metric: str, aggregation: str, output_type: str, *, own: bool) -> Reading | None:
    if metric in _RIGHT_OR_WRONG and aggregation == "mean" and not own:
        return "right or wrong"
    if aggregation in _OF_PAIRS:
        return "pair" if output_type == "multiple_choice" and not own else None
    return _AGGREGATIONS.get(aggregation)


def sample_rows(
    task: str, samples: Iterable[Mapping[str, Any]], how: Scoring, prefix: str = ""
) -> list[CapabilityItem]:
    """Each item's outcome from the harness's logged samples, in the order of the items.

    Where a task filters its answers in several ways, the first filter counts. Items that the metric
    is not taken of are left out.

    Raises:
        SettingsError: a value is not what the task declares.
    """
    ordered = sorted(samples, key=lambda sample: int(sample["doc_id"]))
    own = [sample for sample in ordered if sample["filter"] == ordered[0]["filter"]]
    rows = []
    for sample in own:
        if how.metric not in sample:
            continue
        key = f"{prefix}{sample['doc_id']}-{str(sample['doc_hash'])[:8]}"
        try:
            kind, value, tokens = _outcome(sample[how.metric], how.reading)
        except (TypeError, ValueError) as error:
            raise SettingsError(
                f"The capability task {task} declares {how.metric} to be a {how.reading}, and item "
                f"{sample['doc_id']} has {sample[how.metric]!r}. Correct the task's metric_list."
            ) from error
        if not (how.drops_nan and math.isnan(value)):
            rows.append(CapabilityItem(set=task, id=key, kind=kind, value=value, tokens=tokens))
    return rows


def _outcome(value: Any, reading: Reading) -> tuple[OutcomeKind, float, int]:
    """Kind, value and tokens of a :class:`CapabilityItem`."""
    if reading == "pair":
        right, given = value
        return "correct", float(right == given), 0
    if reading == "log-likelihood and length":
        likelihood, length = value
        return "nll", -float(likelihood), int(length)
    if reading == "log-likelihood":
        return "nll", -float(value), 1
    number = float(value)
    if reading == "number":
        return "number", number, 0
    if number not in (0.0, 1.0):
        raise ValueError(value)
    return "correct", number, 0
