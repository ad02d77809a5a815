"""The preference margin: does the model find a good response likelier than a bad one?

For each pair, the mean log-probability per token of the good response minus that of the bad one,
both after the same prompt. It needs no judge and no generation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from declutch.data.encoding import Encoder
from declutch.data.example import Example
from declutch.errors import DataError
from declutch.evaluation.results import Metric, mean, proportion

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class MarginRow:
    """One row of ``margins.jsonl``: mean log-probability per token (nats), good minus bad."""

    set: str
    id: str
    good: float
    bad: float
    margin: float

    def as_json(self) -> dict[str, Any]:
        """The row as it stands in the file."""
        return asdict(self)


def margins(
    model: nn.Module,
    encoder: Encoder,
    pairs: Mapping[str, Sequence[Example]],
    *,
    max_tokens: int = 2048,
) -> list[MarginRow]:
    """The margin of each pair, dimension by dimension, in order.

    Args:
        pairs: for each dimension, examples with a bad response.
        max_tokens: most tokens in a batch, padding included.

    Raises:
        DataError: an example has no bad response, or its prompt leaves no room for a response.
        ModelError: the model is not causal.
    """
    from declutch.models.forward import response_logprobs
    from declutch.models.probes import must_be_alone

    flat = [(dimension, pair) for dimension, examples in pairs.items() for pair in examples]
    encoded = []
    for dimension, pair in flat:
        if pair.bad_response is None:
            raise DataError(f"{dimension}: the pair {pair.id!r} has no bad response.")
        encoded.append(encoder.encode(pair))
        encoded.append(encoder.encode(Example(pair.prompt, pair.bad_response, pair.id)))
    if not encoded:
        return []
    alone = must_be_alone(model, [each.input_ids for each in encoded])
    values = [
        float(each.double().mean())
        for each in response_logprobs(model, encoded, max_tokens, "Measuring margins", alone=alone)
    ]
    return [
        MarginRow(dimension, pair.id, good, bad, good - bad)
        for (dimension, pair), good, bad in zip(flat, values[::2], values[1::2], strict=True)
    ]


def margin_metrics(rows: Iterable[MarginRow], seed: int = 0) -> list[Metric]:
    """For each dimension the mean margin, and how often it is positive."""
    by_dimension: dict[str, list[float]] = {}
    for row in rows:
        by_dimension.setdefault(row.set, []).append(row.margin)
    metrics = []
    for dimension, values in by_dimension.items():
        metrics.append(
            mean(
                f"margin/{dimension}", values, group="margin", seed=seed, dimension=dimension,
                better="higher", note="log-probability per token, good minus bad response (nats)",
            )
        )  # fmt: skip
        metrics.append(
            proportion(
                f"margin_positive/{dimension}", sum(value > 0 for value in values), len(values),
                group="margin", dimension=dimension, better="higher",
                note="pairs whose good response is the likelier one",
            )
        )  # fmt: skip
    return metrics
