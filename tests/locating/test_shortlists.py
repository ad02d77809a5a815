"""A shortlist answers as all scores would, or not at all."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from declutch.errors import ShortlistTooShort
from declutch.locating import locate
from tests.locating.builders import (
    RATIOS,
    Raw,
    make_scores,
    raw_scores,
    same_everywhere,
    selection_of,
)


def test_a_ratio_beyond_the_shortlist() -> None:
    scores = make_scores(same_everywhere(), fraction=0.25)
    couple = ("fairness", "privacy")
    assert len(locate(scores, couple, ratio=0.25)) == 6 + 4 + 6 + 9
    with pytest.raises(ShortlistTooShort) as caught:
        locate(scores, couple, ratio=0.3)
    message = str(caught.value)
    assert "Ratio 0.3 needs 7 neurons of layers.0.mlp.up" in message
    assert "holds 6 of 24 (2.5e-01)" in message
    named = re.search(r"--shortlist (\S+) or more", message)
    assert named
    # Rounded up, so that the named fraction is enough.
    assert float(named[1]) * 24 >= 7
    enough = make_scores(same_everywhere(), fraction=float(named[1]))
    assert len(locate(enough, couple, ratio=0.3, target_modules=".*0.*up")) == 7


@settings(max_examples=40, deadline=None)
@given(
    raw=raw_scores(), fraction=st.sampled_from([0.2, 0.5]), ratio=RATIOS,
    scope=st.sampled_from(["matrix", "layer", "model"]),
)  # fmt: skip
def test_a_shortlist_never_gives_another_answer(
    raw: Raw, fraction: float, ratio: str, scope: Any
) -> None:
    """The same as all scores would, or refused."""
    arguments: Any = {"ratio": float(ratio), "scope": scope, "rule": "union"}
    couple = ("fairness", "privacy")
    try:
        short = locate(make_scores(raw, fraction), couple, ("general",), **arguments)
    except ShortlistTooShort:
        return
    assume(len(short))
    whole = locate(make_scores(raw), couple, ("general",), **arguments)
    assert selection_of(short) == selection_of(whole)


def test_a_group_that_might_miss_a_neuron_is_refused() -> None:
    """All that one matrix keeps is taken, so its next neuron might outrank another's."""
    raw = same_everywhere()
    for dimension in ("fairness", "privacy"):
        raw[dimension]["layers.1.mlp.down"] = [100 + n for n in range(36)]
    scores = make_scores(raw, fraction=0.25)
    assert len(locate(scores, ("fairness", "privacy"), ratio=0.08, scope="model")) == 8
    with pytest.raises(ShortlistTooShort, match=r"needs 10 neurons of layers\.1\.mlp\.down"):
        locate(scores, ("fairness", "privacy"), ratio=0.1, scope="model")
    with pytest.raises(ShortlistTooShort, match="and 3 others"):
        locate(scores, ("fairness", "privacy"), ratio=0.9, scope="model")
