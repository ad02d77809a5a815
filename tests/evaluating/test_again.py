"""The same model a second time, under what should not matter."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from declutch.comparing.results import Results
from declutch.evaluating.again import evaluate_twice
from declutch.evaluating.evaluate import evaluate
from declutch.replies.store import read_replies
from declutch.suites.base import Suite
from tests.tiny_evaluation import QUICK


def test_greedy_replies_in_float32_are_the_same_twice(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite, tmp_path: Path
) -> None:
    found = evaluate_twice(llama, tokenizer, suite, out=tmp_path, **QUICK)
    once = evaluate(llama, tokenizer, suite, **QUICK)
    assert found.before.metrics == once.metrics
    assert Results.load(tmp_path / "again", items=True) == found.after
    first, second = read_replies(tmp_path), read_replies(tmp_path / "again")
    assert [row.id for row in first if row.set == "fairness"][::-1] == [
        row.id for row in second if row.set == "fairness"
    ]
    assert found.after.settings["batch_size"] == 2
    assert len(found.replies) == len(first) == 9
    assert all(one.reply == other.reply for one, other in found.replies)
    assert all(abs(row.difference or 0) < 1e-6 for row in found.rows)
    assert found.notes == (
        "The same model twice: the second time in reverse order, in batches of 2 in place of 4.",
    )


def test_sampled_replies_get_another_seed(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite, tmp_path: Path
) -> None:
    options = {**QUICK, "temperature": 1.0, "seed": 3}
    found = evaluate_twice(llama, tokenizer, suite, out=tmp_path, **options)
    assert sum(one.reply != other.reply for one, other in found.replies) > 6
    assert "Replies were sampled with seed 3 before and 2 after." in found.notes
    assert found.before.settings["seed"] == found.after.settings["seed"] == 3
    assert evaluate_twice(llama, tokenizer, suite, out=tmp_path, **options).rows == found.rows
