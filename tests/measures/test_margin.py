"""Margin and perplexity against a computation by hand, one text at a time."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from declutch.data.encoding import Encoder
from declutch.data.example import Example
from declutch.errors import DataError
from declutch.items import item_id
from declutch.measures.base import Evidence, Subject
from declutch.measures.margin import Margin, MarginItem, margins
from declutch.measures.perplexity import Perplexity, passage_nll
from declutch.settings import EvaluateSettings
from declutch.suites.base import Passage, Suite, pair_id


def logprobs(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    """Log-probability of every token but the first."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1].double()
    found: torch.Tensor = logits.log_softmax(-1)[range(len(ids) - 1), ids[1:]]
    return found


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_margins_by_hand(
    name: str, request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerFast, suite: Suite
) -> None:
    model: PreTrainedModel = request.getfixturevalue(name)
    encoder = Encoder(tokenizer, "raw")
    rows = [
        row
        for dimension, pairs in suite.pairs.items()
        for row in margins(model, encoder, dimension, pairs, max_tokens=90)
    ]
    assert [(row.set, row.id) for row in rows] == [
        (dimension, pair_id(pair)) for dimension, pairs in suite.pairs.items() for pair in pairs
    ]
    assert [row.id.rpartition("-")[0] for row in rows] == [
        "fairness-0", "fairness-1", "privacy-0", "privacy-1",
    ]  # fmt: skip
    for row, pair in zip(rows, [p for pairs in suite.pairs.values() for p in pairs], strict=True):
        prompt = tokenizer(pair.prompt)["input_ids"]
        values = []
        for response in (pair.response, pair.bad_response):
            tokens = tokenizer(response, add_special_tokens=False)["input_ids"]
            values.append(float(logprobs(model, prompt + tokens)[-len(tokens) :].mean()))
        assert (row.good, row.bad) == pytest.approx(tuple(values), abs=1e-4)
        assert row.margin == row.good - row.bad


def test_margin_metrics() -> None:
    rows = [
        MarginItem(set="privacy", id=str(n), good=value, bad=0.0, margin=value)
        for n, value in enumerate([0.4, -0.2, 0.1])
    ]
    mean, positive = Margin().metrics(Evidence(items={"margin": rows}))
    assert (mean.name, mean.kind, mean.better) == ("margin/privacy", "mean", "higher")
    assert mean.value == pytest.approx(0.1)
    assert (positive.name, positive.count, positive.total) == ("margin_positive/privacy", 2, 3)


def test_a_pair_without_a_bad_response(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(DataError, match="no bad response"):
        margins(llama, Encoder(tokenizer, "raw"), "privacy", [Example("a", "b", "c")])


def test_perplexity_by_hand(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite
) -> None:
    rows = passage_nll(llama, tokenizer, suite.passages)
    expected = [logprobs(llama, tokenizer(passage.text)["input_ids"]) for passage in suite.passages]
    assert [row.tokens for row in rows] == [len(each) for each in expected]
    assert [row.nll for row in rows] == pytest.approx([-float(e.sum()) for e in expected], rel=1e-5)
    (metric,) = Perplexity().metrics(Evidence(items={"perplexity": rows}))
    together = torch.cat(expected)
    assert metric.value == pytest.approx(math.exp(-float(together.mean())), rel=1e-5)
    assert metric.name == "perplexity/general"


def test_long_and_tiny_passages(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    passages = [Passage("long", "a rare house " * 30), Passage("none", "")]
    (row,) = passage_nll(llama, tokenizer, passages, max_length=10)
    assert (row.id, row.tokens) == (item_id("long", passages[0].text), 9)
    assert "Passage none is too short" in caplog.text
    assert "1 of 2 passages were cut at 10 tokens" in caplog.text


def test_pairs_that_cannot_be_encoded_are_named(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    long = Example("a rare house " * 40, "No.", "long", "Yes.")
    pairs = {"privacy": [Example("Who?", "No.", "fits", "Yes."), long, Example("a", "b", "half")]}
    suite = Suite("s", pairs={name: tuple(each) for name, each in pairs.items()})
    encoder = Encoder(tokenizer, "raw", 50)
    subject = Subject(suite, EvaluateSettings(), llama, tokenizer, encoder)
    (part,) = Margin().parts(subject)
    items, _ = part.run()
    assert (part.name, [item.id for item in items]) == ("privacy", [pair_id(pairs["privacy"][0])])
    (note,) = Margin().check(subject)
    assert "margin/privacy: 2 of 3 pairs are left out: long, half." in note
    assert "its prompt fills them" in note


def test_the_id_of_an_item_holds_its_content(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    same, other = Example("a", "b", "1", "c"), Example("a", "b", "1", "d")
    assert pair_id(same) == pair_id(Example("a", "b", "1", "c"))
    assert pair_id(same) != pair_id(other)
    passages = [Passage("p", "Who lives there?"), Passage("p", "Who lives here?")]
    ids = [row.id for row in passage_nll(llama, tokenizer, passages)]
    assert len({*ids}) == 2
    assert all(each.startswith("p-") for each in ids)
