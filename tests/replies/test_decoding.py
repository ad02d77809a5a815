"""Decoding: presets, ranges, and sampling that depends on the prompt and its seed alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from declutch.errors import SettingsError
from declutch.replies.decoding import PRESETS, Decoding, decoding_of
from declutch.replies.engine import Reply
from declutch.replies.sampling import SeededSampler, keep_top_p, prompt_seed
from declutch.replies.transformers_engine import TransformersEngine


def test_presets() -> None:
    assert decoding_of("paper") == Decoding(prompt_format="raw", max_new_tokens=64)
    assert decoding_of("paper").greedy
    assert decoding_of("chat").prompt_format == "auto"
    changed = decoding_of("paper", max_new_tokens=9, temperature=None)
    assert changed == dataclasses.replace(PRESETS["paper"], max_new_tokens=9)
    with pytest.raises(SettingsError, match="chat, paper"):
        decoding_of("papers")


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"max_new_tokens": 0}, "--max-new-tokens"),
        ({"temperature": -0.1}, "--temperature"),
        ({"temperature": float("nan")}, "--temperature"),
        ({"temperature": float("inf")}, "--temperature"),
        ({"temperature": 1.0, "top_p": 0.0}, "--top-p"),
        ({"temperature": 1.0, "top_p": 1.1}, "--top-p"),
        ({"top_p": 0.9}, "--top-p 0.9 does nothing"),
    ],
)
def test_out_of_range(changes: dict[str, float], flag: str) -> None:
    with pytest.raises(SettingsError, match=flag):
        decoding_of("chat", **changes)


def test_greedy_settings_do_not_name_what_they_do_not_depend_on() -> None:
    assert Decoding(seed=3).settings() == Decoding(seed=4).settings()
    sampled = Decoding(temperature=0.7, top_p=0.9, seed=3).settings()
    assert (sampled["decoding"], sampled["temperature"], sampled["seed"]) == ("sampled", 0.7, 3)


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0, -3.0])
    rows = 20_000
    sampler = SeededSampler(range(rows), temperature=1.5)
    ids = torch.zeros(rows, 1, dtype=torch.long)
    drawn = sampler(ids, logits.expand(rows, -1)).argmax(dim=-1)  # type: ignore[arg-type]
    shares = torch.bincount(drawn, minlength=5) / rows
    expected = (logits / 1.5).softmax(0)
    error = (expected * (1 - expected) / rows).sqrt()
    assert ((shares - expected).abs() < 4 * error).all()


def test_nucleus() -> None:
    probabilities = torch.tensor([[0.1, 0.5, 0.3, 0.1], [0.25, 0.25, 0.25, 0.25]])
    kept = keep_top_p(probabilities.log(), 0.6).isfinite()
    assert kept[0].tolist() == [False, True, True, False]
    assert kept[1].sum() == 3
    assert keep_top_p(probabilities.log(), 1e-6).isfinite().sum(dim=-1).tolist() == [1, 1]


def replies(engine: TransformersEngine, prompts: list[str]) -> list[Reply]:
    found = dict(engine.replies(prompts))
    return [found[index] for index in range(len(prompts))]


def test_a_sampled_reply_does_not_depend_on_its_batch(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: list[str]
) -> None:
    def engine(size: int, **changes: float) -> TransformersEngine:
        chosen = {"temperature": 2.0, "top_p": 0.9, "max_new_tokens": 6, **changes}
        return TransformersEngine(llama, tokenizer, decoding_of("paper", **chosen), batch_size=size)

    whole = replies(engine(8), prompts)
    assert replies(engine(1), prompts) == whole
    # Also where only some are left to do.
    assert replies(engine(8), prompts[20:]) == whole[20:]
    assert replies(engine(8, seed=1), prompts) != whole
    greedy = TransformersEngine(llama, tokenizer, "paper", max_new_tokens=6)
    assert replies(greedy, prompts) != whole
    cold = engine(8, temperature=1e-4, top_p=1.0)
    assert replies(cold, prompts) == replies(greedy, prompts)


def test_prompt_seeds_are_fixed() -> None:
    assert prompt_seed(0, "Why?") == prompt_seed(0, "Why?") != prompt_seed(1, "Why?")
    assert len({prompt_seed(seed, str(n)) for seed in range(9) for n in range(9)}) == 81
    assert all(0 <= prompt_seed(0, str(n)) < 2**63 for n in range(200))
