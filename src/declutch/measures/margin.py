"""The preference margin: does the model find a good response likelier than a bad one?

For each pair, the mean log-probability per token of the good response minus that of the bad one,
both after the same prompt. It needs no judge and no generation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from declutch.comparing.kinds import MEAN, PROPORTION
from declutch.comparing.results import MeasureFacts
from declutch.comparing.series import Series
from declutch.data.duplicates import find_clusters
from declutch.data.encoding import EncodedExample, Encoder
from declutch.data.example import Example
from declutch.errors import DataError
from declutch.items import Item, Number, named, not_finite
from declutch.measures.base import MEASURES, Evidence, Measure, Part, Subject
from declutch.suites.base import pair_id


class MarginItem(Item):
    """One pair: mean log-probability per token (nats) of either response, and good minus bad."""

    good: Number
    bad: Number
    margin: Number


@MEASURES.register("margin")
class Margin(Measure[MarginItem]):
    """For each dimension the mean margin, and how often it is positive."""

    facts = MeasureFacts(
        name="margin",
        title="Preference margin",
        note="log-probability per token of the good response minus that of the bad one",
        role="side effect",
        family="main",
        worse="the preference margin of {of} fell",
        items="pair",
    )
    needs = "weights"
    order = 50
    item = MarginItem

    def check(self, subject: Subject) -> list[str]:
        """Which pairs can't be used: encoding takes moments, so this is known before any reply."""
        return [note for _, _, note in _usable(subject) if note] if subject.encoder else []

    def parts(self, subject: Subject) -> list[Part]:
        """One a dimension."""

        def part(dimension: str, pairs: Sequence[Example]) -> Part:
            return Part(
                dimension, lambda: (margins(subject.model, subject.encoder, dimension, pairs), {})
            )

        return [part(dimension, pairs) for dimension, pairs, _ in _usable(subject)]

    def series(self, evidence: Evidence) -> list[Series]:
        """Two of each dimension."""
        by_dimension: dict[str, list[MarginItem]] = {}
        for item in evidence.of(self):
            by_dimension.setdefault(item.set, []).append(item)
        return [
            series
            for dimension, items in by_dimension.items()
            for series in _series(dimension, {item.id: item.margin for item in items})
        ]

    def expected(self, subject: Subject, empty: Evidence) -> list[Series]:
        """Two of each dimension that has pairs."""
        return [series for dimension in subject.suite.pairs for series in _series(dimension, {})]


def _series(dimension: str, values: Mapping[str, float]) -> list[Series]:
    unknown = not_finite(list(values), list(values.values()))
    return [
        Series(
            f"margin/{dimension}", MEAN, values, dimension, better="higher",
            note="log-probability per token, good minus bad response (nats)" + unknown,
            label=f"{dimension} · mean",
        ),
        Series(
            f"margin_positive/{dimension}", PROPORTION,
            {key: value > 0 for key, value in values.items()}, dimension, better="higher",
            note="pairs whose good response is the likelier one" + unknown,
            label=f"{dimension} · above 0",
        ),
    ]  # fmt: skip


def _usable(subject: Subject) -> list[tuple[str, list[Example], str]]:
    """For each dimension the pairs of which both responses can be encoded; a note on the others."""
    assert subject.encoder is not None
    found = []
    for dimension, pairs in subject.suite.pairs.items():
        usable, left_out, why = [], [], ""
        for pair in pairs:
            try:
                both_responses(subject.encoder, pair)
            except DataError as error:
                left_out.append(pair.id)
                why = why or str(error)
            else:
                usable.append(pair)
        note = ""
        if left_out:
            note = (
                f"margin/{dimension}: {len(left_out)} of {len(pairs)} pairs are left out: "
                f"{named(left_out)}. The first: {why}"
            )
        found.append((dimension, usable, note))
    return found


def both_responses(encoder: Encoder, pair: Example) -> list[EncodedExample]:
    """The good and the bad response after the prompt, encoded; a DataError where one can't be."""
    if pair.bad_response is None:
        raise DataError(f"The pair {pair.id!r} has no bad response.")
    bad = Example(pair.prompt, pair.bad_response, pair.id)
    return [encoder.encode(pair), encoder.encode(bad)]


def margins(
    model: Any, encoder: Any, dimension: str, pairs: Sequence[Example], *, max_tokens: int = 2048
) -> list[MarginItem]:
    """The margin of each pair of one dimension, in order.

    Args:
        pairs: examples with a bad response.
        max_tokens: most tokens in a batch, padding included.

    Raises:
        DataError: an example has no bad response, or its prompt leaves no room for a response.
        ModelError: the model is not causal.
    """
    from declutch.models.forward import response_logprobs
    from declutch.models.probes import must_be_alone

    encoded = [each for pair in pairs for each in both_responses(encoder, pair)]
    if not encoded:
        return []
    alone = must_be_alone(model, [each.input_ids for each in encoded])
    values = [
        float(each.double().mean())
        for each in response_logprobs(model, encoded, max_tokens, "Measuring margins", alone=alone)
    ]
    ids = [pair_id(pair) for pair in pairs]
    clusters = find_clusters(ids, [p.prompt for p in pairs], [p.cluster for p in pairs])
    return [
        MarginItem(
            set=dimension,
            id=key,
            good=good,
            bad=bad,
            margin=good - bad,
            cluster=cluster,
        )
        for key, good, bad, cluster in zip(ids, values[::2], values[1::2], clusters, strict=True)
    ]
