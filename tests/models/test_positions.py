"""Examples longer than a table of positions are refused before they are scored."""

from __future__ import annotations

import pytest

from declutch.data.example import Example
from declutch.errors import SettingsError
from declutch.models.positions import position_table
from declutch.scoring.score import score
from tests.conftest import build_model, build_tokenizer

LONG = [Example(f"Tell me {n}.", "word " * 60) for n in range(2)]


def test_which_models_have_a_table() -> None:
    assert position_table(build_model("gpt2")) == 128
    assert position_table(build_model("llama")) is None


def test_too_long_an_example_is_refused() -> None:
    model, tokenizer = build_model("gpt2"), build_tokenizer()
    data = {"a": LONG, "b": LONG}
    with pytest.raises(SettingsError, match=r"the model has 128 positions. Give --max-length 128"):
        score(model, tokenizer, data)
    scores = score(model, tokenizer, data, max_length=128, shortlist=0.1)
    assert scores.info.dimensions["a"].truncated == 2


def test_rotary_positions_go_on() -> None:
    model = build_model("llama", max_position_embeddings=64)
    assert score(model, build_tokenizer(), {"a": LONG}, shortlist=0.1).dimensions == ("a",)
