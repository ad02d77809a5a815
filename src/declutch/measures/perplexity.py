"""Perplexity on general text: whether the model still writes as it did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from declutch.comparing.kinds import PERPLEXITY
from declutch.comparing.results import MeasureFacts
from declutch.comparing.series import Series
from declutch.data.duplicates import find_clusters
from declutch.data.encoding import EncodedExample
from declutch.items import Item, Number, item_id, not_finite
from declutch.measures.base import MEASURES, Evidence, Measure, Part, Subject
from declutch.progress import log
from declutch.suites.base import Passage

_SET = "general"
_METRIC = f"perplexity/{_SET}"


class PerplexityItem(Item):
    """One text: its summed NLL (nats) over its predicted tokens."""

    nll: Number
    tokens: int


@MEASURES.register("perplexity")
class Perplexity(Measure[PerplexityItem]):
    """exp(Σ NLL / Σ tokens) over the suite's passages."""

    facts = MeasureFacts(
        name="perplexity",
        title="Perplexity",
        note="on general text; lower is better",
        role="side effect",
        family="main",
        worse="perplexity rose",
        items="text",
    )
    needs = "weights"
    order = 60
    item = PerplexityItem

    def parts(self, subject: Subject) -> list[Part]:
        """One, if there are passages."""

        def run() -> tuple[list[PerplexityItem], dict[str, Any]]:
            found = passage_nll(
                subject.model, subject.tokenizer, subject.suite.passages,
                max_length=subject.settings.max_length,
            )  # fmt: skip
            return found, {}

        return [Part(_SET, run)] if subject.suite.passages else []

    def series(self, evidence: Evidence) -> list[Series]:
        """One."""
        items = evidence.of(self)
        if not items:
            return []
        tokens = sum(item.tokens for item in items)
        note = f"over {tokens} tokens of {len(items)} passages"
        note += not_finite([item.id for item in items], [item.nll for item in items])
        values = {item.id: (item.nll, item.tokens) for item in items}
        return [Series(_METRIC, PERPLEXITY, values, better="lower", note=note)]

    def expected(self, subject: Subject, empty: Evidence) -> list[Series]:
        """One, if there are passages."""
        return [Series(_METRIC, PERPLEXITY, {})] if subject.suite.passages else []


def passage_nll(
    model: Any, tokenizer: Any, passages: Sequence[Passage], *, max_length: int = 1024
) -> list[PerplexityItem]:
    """The summed NLL of each passage on its own, as raw text.

    The tokenizer puts its BOS before it or not, as it always does; the first token is given, all
    others are predicted. A passage longer than ``max_length`` tokens is cut there; one of a
    single token is left out. Both are said.
    """
    from declutch.models.forward import response_logprobs
    from declutch.models.probes import must_be_alone

    encoded, kept, cut = [], [], 0
    for passage in passages:
        tokens = tuple(tokenizer(passage.text)["input_ids"])
        cut += len(tokens) > max_length
        tokens = tokens[:max_length]
        if len(tokens) < 2:
            log.warning("Passage %s is too short to predict anything; left out.", passage.id)
            continue
        kept.append(passage)
        encoded.append(EncodedExample(tokens, (False,) + (True,) * (len(tokens) - 1)))
    if cut:
        log.warning("%d of %d passages were cut at %d tokens.", cut, len(passages), max_length)
    if not encoded:
        return []
    ids = [item_id(passage.id, passage.text) for passage in kept]
    clusters = find_clusters(ids, [passage.text for passage in kept], [""] * len(kept))
    alone = must_be_alone(model, [each.input_ids for each in encoded])
    values = response_logprobs(model, encoded, 2048, "Measuring perplexity", alone=alone)
    return [
        PerplexityItem(
            set=_SET,
            id=key,
            nll=-float(each.double().sum()),
            tokens=len(each),
            cluster=cluster,
        )
        for key, each, cluster in zip(ids, values, clusters, strict=True)
    ]
