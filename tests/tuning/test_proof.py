"""The random control of a proof: as many weights, and none of the winner's."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import declutch
from declutch.data.names import CONTROL
from declutch.errors import ShortlistTooShort
from declutch.patching import Patch
from declutch.scoring.shortlists import Scores, Shortlist
from declutch.tuning.proof import at_random, controls
from tests.tuning.test_tune import WORDS

ROWS = [{"prompt": f"{a} {b} ?", "response": f"{b} {a}"} for a, b in pairwise(WORDS)]


@pytest.fixture
def scores(tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> Scores:
    data = {name: ROWS[start : start + 4] for start, name in enumerate(("a", "b", "c"))}
    return declutch.score(
        tiny_llama, tiny_tokenizer, data, num_samples=4, shortlist=0.1, prompt_format="raw"
    )


@pytest.fixture
def patch(scores: Scores) -> Patch:
    return declutch.locate(scores, ["a", "b"], ["c"], ratio=0.02, rule="union")


def controls_of(patch: Patch, best: dict[str, Patch], scores: Scores, *kinds: str) -> list[str]:
    return [*controls(patch, best, scores, 0, kinds or ("rules", "random", "null"))]


def test_random_weights_are_others(scores: Scores, patch: Patch) -> None:
    other = at_random(patch, scores, 0)
    assert other.counts == patch.counts
    for name, indices in patch.indices.items():
        assert not np.intersect1d(indices, other.indices[name]).size
    assert at_random(patch, scores, 0) == other != at_random(patch, scores, 1)
    assert controls_of(patch, {"coupled": patch}, scores) == ["winner", "paper", "random", "null"]
    assert controls_of(patch, {"union": patch}, scores, "rules") == ["winner"]


def test_without_enough_random_ones_there_is_no_such_control(scores: Scores, patch: Patch) -> None:
    scores.shortlists[CONTROL] = {
        name: Shortlist(one.indices[:1], one.scores[:1], one.weights[:1])
        for name, one in scores.shortlists[CONTROL].items()
    }
    with pytest.raises(ShortlistTooShort, match="random control needs"):
        at_random(patch, scores, 0)
    assert controls_of(patch, {}, scores) == ["winner", "null"]
