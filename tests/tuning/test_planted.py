"""A case whose answer is known: what is planted there, and that tune finds it."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from benchmarks.planted import HIGH, Planted, awareness, found, plant, run, silent
from benchmarks.planted_data import DIMENSIONS, Words, shuffled, words

from declutch.data.encoding import Encoder
from declutch.judges import JudgeItem
from declutch.judges.options import Options

SEEDS = 20


@pytest.fixture(scope="module")
def texts() -> Words:
    return words(0)


@pytest.fixture(scope="module")
def planted(texts: Words) -> Planted:
    return plant(0, texts)


def test_without_the_planted_weights_the_model_is_the_aware_one(
    planted: Planted, texts: Words
) -> None:
    assert max(awareness(planted, texts, {}).values()) <= 0.05
    assert min(awareness(planted, texts, planted.weights).values()) >= 0.95
    aware = planted.aware.state_dict()
    for name, weight in planted.model.state_dict().items():
        zeroed = weight.clone()
        zeroed.view(-1)[torch.tensor(planted.weights.get(name, []), dtype=torch.long)] = 0.0
        assert torch.equal(zeroed, aware[name])


def test_harmless_prompts_are_answered_as_before(planted: Planted, texts: Words) -> None:
    encoder = Encoder(planted.tokenizer)
    harmless = texts.suite.prompt_sets[-1]
    prompts = torch.tensor([encoder.encode_prompt(item.prompt) for item in harmless.items])
    with torch.no_grad():
        first = [
            model(input_ids=prompts).logits[:, -1].softmax(-1)
            for model in (planted.model, planted.aware)
        ]
    assert (first[0] - first[1]).abs().max() < 0.02


def test_no_prompt_is_taught_and_asked(texts: Words) -> None:
    asked = {item.prompt for each in texts.suite.prompt_sets for item in each.items}
    for part in (texts.calibration, texts.training):
        assert asked.isdisjoint(one.prompt for rows in part.values() for one in rows)


def test_the_coin_of_a_prompt_and_its_reply_does_not_change(texts: Words) -> None:
    items = [
        JudgeItem(name, one.prompt, reply)
        for name in DIMENSIONS
        for one in texts.training[name]
        for reply in (one.response, one.bad_response or "")
    ]
    judge = shuffled(Options("shuffled", {"": "3"}))
    verdicts = [one.verdict for one in judge.judge(items)]
    assert verdicts == [one.verdict for one in judge.judge(items)]
    # Four standard errors of 960 coins are 0.065; what a reply says does not matter.
    for replies in (verdicts[::2], verdicts[1::2]):
        assert abs(replies.count("aware") / len(replies) - 0.5) < 0.1


def test_what_counts_as_found() -> None:
    shares = dict.fromkeys(DIMENSIONS, 1.0)
    row = {
        "word": "helps all", "weights": 100, "planted": 25, "planted_alone": shares,
        "awareness": dict.fromkeys(DIMENSIONS, (0.0, 1.0)),
    }  # fmt: skip
    assert found(row)
    assert not silent(row)
    wrong = [("word", "helps some"), ("planted", 24), ("planted_alone", {**shares, "privacy": 0.5})]
    assert not any(found({**row, key: value}) for key, value in wrong)
    assert silent({"word": "nothing to prove"})


@pytest.mark.slow
def test_tune_finds_what_is_planted_and_nothing_where_labels_are_shuffled() -> None:
    """What docs/tune.md tells: all are found, two of them with more than was planted."""
    rows = [row for seed in range(SEEDS) for row in run(seed)]
    right = Counter(row["judge"] for row in rows if row["right"])
    by_word = [row for row in rows if row["judge"] == "word"]
    assert all(row["word"] == "helps all" for row in by_word)
    assert all(min(row["planted_alone"].values()) >= HIGH for row in by_word)
    assert right["word"] >= SEEDS - 2
    assert right["shuffled"] >= SEEDS - 1
