"""Which examples are trained on, in which share."""

from __future__ import annotations

import re
from typing import Any

import pytest

from declutch.data.example import Example
from declutch.errors import DataError, SettingsError
from declutch.settings import TrainSettings
from declutch.training.mixture import load_mixture


def counts(data: Any, **options: Any) -> dict[str, int]:
    found = load_mixture(data, TrainSettings(**options))
    return {name: len(one.examples) for name, one in found.items()}


def test_as_many_of_each_or_in_a_share(data: dict[str, str]) -> None:
    assert counts(data, num_samples=5) == {"fairness": 5, "privacy": 5}
    assert counts(data, num_samples=5, share=("fairness=0.7",)) == {"fairness": 7, "privacy": 3}
    both = ("privacy=0.25", "fairness=0.75")
    assert counts(data, num_samples=6, share=both) == {"fairness": 9, "privacy": 3}
    three = {**data, "other": data["fairness"]}
    found = counts(three, num_samples=5, share=("other=0.5",))
    assert found == {"fairness": 4, "privacy": 4, "other": 7}
    assert sum(found.values()) == 15
    assert counts({"one": data["privacy"]}, num_samples=5, share=("one=1",)) == {"one": 5}


def test_bad_responses_in_their_place(data: dict[str, str]) -> None:
    good = load_mixture({"a": data["fairness"]}, TrainSettings(num_samples=4))["a"]
    source = f"{data['fairness']}?response=bad_response"
    bad = load_mixture({"a": source}, TrainSettings(num_samples=12))["a"]
    answers = {one.prompt: one.response for one in bad.examples}
    for one in good.examples:
        assert answers[one.prompt] == one.bad_response != one.response


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (("fairness",), "--share «fairness»: write NAME=SHARE"),
        (("fairness=half",), "write NAME=SHARE, above 0 and at most 1"),
        (("fairness=0",), "write NAME=SHARE, above 0 and at most 1"),
        (("fairness=nan",), "write NAME=SHARE, above 0 and at most 1"),
        (("sex=0.5",), "sex is not in --data (fairness, privacy)"),
        (("fairness=0.5", "fairness=0.5"), "fairness is named twice"),
        (("fairness=1",), "1 leaves 0 for privacy. The shares of all dimensions must add up to 1"),
        (("fairness=0.5", "privacy=0.4"), "0.5 + 0.4 leaves 0.1"),
        (("fairness=0.9", "privacy=0.4"), "0.9 + 0.4 leaves -0.3"),
        (("fairness=0.01",), "The share of fairness is no whole example of 10"),
    ],
)
def test_shares_that_can_not_be(data: dict[str, str], share: tuple[str, ...], said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)):
        counts(data, num_samples=5, share=share)


def test_a_share_of_what_is_too_little(data: dict[str, str]) -> None:
    with pytest.raises(DataError, match="12 different examples, and 16 were asked for"):
        counts(data, num_samples=10, share=("fairness=0.8",))
    with pytest.raises(SettingsError, match="is a list of examples, which is used as it is"):
        counts({"a": [Example("x", "y")]}, share=("a=1",))
