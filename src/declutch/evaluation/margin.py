"""The preference margin: does the model find a good response likelier than a bad one?

For each pair, the mean log-probability per token of the good response minus that of the bad one,
both after the same prompt. It needs no judge and no generation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from declutch.data.encoding import EncodedExample, Encoder
from declutch.data.example import Example
from declutch.errors import DataError
from declutch.evaluation.results import Metric, mean, proportion
from declutch.evaluation.rows import finite, named, not_finite, number
from declutch.evaluation.suites import pair_id

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
        return {key: finite(v) if isinstance(v, float) else v for key, v in asdict(self).items()}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> MarginRow:
        """What :meth:`as_json` made, read back."""
        return cls(row["set"], row["id"], *(number(row[key]) for key in ("good", "bad", "margin")))


def usable_pairs(
    encoder: Encoder, pairs: Mapping[str, Sequence[Example]]
) -> tuple[dict[str, list[Example]], list[str]]:
    """The pairs of which both responses can be encoded, and what to say of the others.

    Encoding takes moments; so that a pair too long is known before any reply is asked for.
    """
    usable: dict[str, list[Example]] = {}
    notes = []
    for dimension, examples in pairs.items():
        usable[dimension], left_out, why = [], [], ""
        for pair in examples:
            try:
                _both(encoder, pair)
            except DataError as error:
                left_out.append(pair.id)
                why = why or str(error)
            else:
                usable[dimension].append(pair)
        if left_out:
            notes.append(
                f"margin/{dimension}: {len(left_out)} of {len(examples)} pairs are left out: "
                f"{named(left_out)}. The first: {why}"
            )
    return usable, notes


def _both(encoder: Encoder, pair: Example) -> list[EncodedExample]:
    """The good and the bad response after the prompt, encoded.

    Raises:
        DataError: there is no bad response, or the prompt leaves no room for one of the two.
    """
    if pair.bad_response is None:
        raise DataError(f"The pair {pair.id!r} has no bad response.")
    bad = Example(pair.prompt, pair.bad_response, pair.id)
    return [encoder.encode(pair), encoder.encode(bad)]


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
    encoded = [each for _, pair in flat for each in _both(encoder, pair)]
    if not encoded:
        return []
    alone = must_be_alone(model, [each.input_ids for each in encoded])
    values = [
        float(each.double().mean())
        for each in response_logprobs(model, encoded, max_tokens, "Measuring margins", alone=alone)
    ]
    return [
        MarginRow(dimension, pair_id(pair), good, bad, good - bad)
        for (dimension, pair), good, bad in zip(flat, values[::2], values[1::2], strict=True)
    ]


def margin_metrics(rows: Iterable[MarginRow], seed: int = 0) -> list[Metric]:
    """For each dimension the mean margin, and how often it is positive."""
    by_dimension: dict[str, list[MarginRow]] = {}
    for row in rows:
        by_dimension.setdefault(row.set, []).append(row)
    metrics = []
    for dimension, own in by_dimension.items():
        values = [row.margin for row in own]
        unknown = not_finite([row.id for row in own], values)
        metrics.append(
            mean(
                f"margin/{dimension}", values, group="margin", seed=seed, dimension=dimension,
                better="higher",
                note=f"log-probability per token, good minus bad response (nats){unknown}",
            )
        )  # fmt: skip
        metrics.append(
            proportion(
                f"margin_positive/{dimension}", sum(value > 0 for value in values), len(values),
                group="margin", dimension=dimension, better="higher",
                note=f"pairs whose good response is the likelier one{unknown}",
            )
        )  # fmt: skip
    return metrics
