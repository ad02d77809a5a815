"""Several replies to a prompt: asked for, kept, gone on with, and counted as a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from declutch.errors import SettingsError
from declutch.evaluating.compare import compare
from declutch.evaluating.evaluate import evaluate, evaluate_engine
from declutch.replies.decoding import Decoding
from declutch.replies.store import read_replies
from declutch.replies.transformers_engine import TransformersEngine
from declutch.suites.base import PromptItem, PromptSet, Suite
from tests.tiny_evaluation import QUICK

SAMPLED: dict[str, Any] = {**QUICK, "temperature": 1.0, "num_replies": 3}


@pytest.fixture
def suite() -> Suite:
    items = tuple(PromptItem(f"p{n}", f"{word}?") for n, word in enumerate("abcdefg"))
    return Suite("tiny", (PromptSet("privacy", "privacy", "awareness", items, "tiny"),))


def test_replies_differ_and_are_a_cluster_of_their_prompt(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite, tmp_path: Path
) -> None:
    results = evaluate(llama, tokenizer, suite, out=tmp_path / "three", **SAMPLED)
    rows = read_replies(tmp_path / "three")
    assert [row.id for row in rows[:4]] == ["p0", "p0#2", "p0#3", "p1"]
    assert [row.cluster for row in rows] == [f"p{n}" for n in range(7) for _ in range(3)]
    assert all(len({row.reply for row in rows[n : n + 3]}) == 3 for n in range(0, 21, 3))
    metric = results.metric("cut/privacy")
    assert (metric.total, metric.clusters, metric.too_few) == (21, 7, False)
    assert results.settings["num_replies"] == 3
    assert results.sets[0].prompts == 7
    # The first reply is the one that would be given alone.
    evaluate(llama, tokenizer, suite, out=tmp_path / "one", **{**SAMPLED, "num_replies": 1})
    assert [row.reply for row in read_replies(tmp_path / "one")] == [row.reply for row in rows[::3]]
    # No reply of another seed is one of these.
    evaluate(llama, tokenizer, suite, out=tmp_path / "other", **SAMPLED, seed=1)
    others = {(row.prompt, row.reply) for row in read_replies(tmp_path / "other")}
    assert len(others & {(row.prompt, row.reply) for row in rows}) <= 2

    comparison = compare(tmp_path / "three", tmp_path / "other")
    row = comparison.row("cut/privacy")
    assert (row.n_pairs, row.clusters) == (21, 7)
    assert len(comparison.replies) == 21
    assert "Replies were sampled with seed 0 before and 1 after." in comparison.notes


def test_an_interrupted_evaluation_goes_on(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite, tmp_path: Path
) -> None:
    whole = evaluate(llama, tokenizer, suite, out=tmp_path, **SAMPLED)
    path = tmp_path / "replies.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:8]))
    again = evaluate(llama, tokenizer, suite, out=tmp_path, **SAMPLED)
    assert again.metrics == whole.metrics
    assert path.read_text().splitlines(keepends=True) == lines
    with pytest.raises(SettingsError, match="num_replies is 3 there and 2 now"):
        evaluate(llama, tokenizer, suite, out=tmp_path, **{**SAMPLED, "num_replies": 2})


def test_greedy_replies_are_all_the_same_and_so_refused(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite
) -> None:
    with pytest.raises(SettingsError, match="--num-replies 2: at temperature 0"):
        evaluate(llama, tokenizer, suite, num_replies=2, **QUICK)
    engine = TransformersEngine(llama, tokenizer)
    with pytest.raises(SettingsError, match="--num-replies 2: at temperature 0"):
        evaluate_engine(engine, suite, model="m", num_replies=2, temperature=1.0)
    sampled = Decoding(temperature=1.0, max_new_tokens=2)
    assert evaluate(llama, tokenizer, suite, decoding=sampled, num_replies=2, batch_size=4).metrics
