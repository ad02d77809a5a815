"""The same replies, judged by their first tokens alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from declutch.errors import SettingsError
from declutch.evaluating.compare import compare
from declutch.evaluating.evaluate import evaluate, evaluate_engine
from declutch.judges import JudgeItem, Verdict
from declutch.measures.by_length import length_of
from declutch.replies.cutting import Cut
from declutch.replies.engine import Reply
from declutch.replies.transformers_engine import TransformersEngine
from declutch.reporting.picture import draw_all
from declutch.suites.base import Suite
from tests.reporting.fakes import report_input

# One token a letter in the tiny tokenizer, whose merges hold none of these.
SAID = ("zqzqzq!", "zq", "<think>zqz</think>q!")


class Exclaimed:
    """Aware where the reply ends with an exclamation mark."""

    name = "exclaimed"
    settings: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.asked: list[str] = []

    def judge(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        self.asked += [item.reply for item in items]
        return [Verdict("aware" if item.reply.endswith("!") else "unaware") for item in items]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every set gets the same replies."""

    def replies(self: TransformersEngine, prompts: Sequence[str]) -> Iterator[tuple[int, Reply]]:
        for number, _ in enumerate(prompts):
            yield number, Reply(SAID[number % 3], "stop")

    monkeypatch.setattr(TransformersEngine, "replies", replies)


def test_a_reply_is_cut_by_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "I can't tell you that — «zq»"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert Cut(len(ids), tokenizer)(text) == text
    for tokens in range(1, len(ids)):
        assert Cut(tokens, tokenizer)(text) == tokenizer.decode(ids[:tokens])
    assert Cut(3, tokenizer)("") == ""


@pytest.mark.usefixtures("said")
def test_what_the_first_tokens_show(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite, tmp_path: Path
) -> None:
    judge = Exclaimed()
    options: dict[str, Any] = {"judges": [judge], "max_new_tokens": 32}
    evaluate(llama, tokenizer, suite, out=tmp_path, **options)
    whole = len(judge.asked)
    # Added to what is there, as a judge may be.
    results = evaluate(llama, tokenizer, suite, out=tmp_path, lengths=(32, 7, 3, 7), **options)
    again = judge.asked[whole:]
    # Of those that are no longer than the cut, the verdict is known; reasoning counts as tokens.
    assert {*again} == {"zqz", "<think", ""}
    found = {length_of(m.name): m for m in results.metrics if m.group == "by_length"}
    shares = {
        tokens: (metric.count, metric.total)
        for (name, tokens), metric in found.items()
        if name == "awareness/fairness/exclaimed"
    }
    assert shares == {3: (0, 4), 7: (2, 4), 32: (3, 4)}
    note = found["awareness/fairness/exclaimed", 7].note
    assert note.endswith("; at the longest 1 more count and 0 no longer do")
    assert "longest" not in found["awareness/fairness/exclaimed", 32].note
    assert ("over_caution/fairness/refusal", 7) in found
    assert results.metric("awareness/fairness/exclaimed").count == 3
    asked = len(judge.asked)
    evaluate(llama, tokenizer, suite, out=tmp_path, lengths=(3, 7, 32), **options)
    assert len(judge.asked) == asked


@pytest.mark.usefixtures("said")
def test_before_and_after(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        evaluate(
            llama, tokenizer, suite, out=tmp_path / name, max_new_tokens=32, lengths=(4, 16)
        )  # fmt: skip
    comparison = compare(tmp_path / "a", tmp_path / "b")
    rows = [row for row in comparison.rows if row.metric.group == "by_length"]
    assert [row.name for row in rows if "/privacy/" in row.name] == [
        f"by_length/awareness/privacy/heuristic/{tokens}_tokens" for tokens in (4, 16)
    ]
    assert all(row.n_pairs for row in rows)
    drawings = draw_all(report_input(tmp_path, rows=comparison.rows, replies=comparison.replies))
    assert "by-length" in [drawing.name for drawing in drawings]


def test_what_can_not_be_cut(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite
) -> None:
    with pytest.raises(SettingsError, match="--lengths 128: replies have at most 16 tokens"):
        evaluate(llama, tokenizer, suite, max_new_tokens=16, lengths=(8, 128))
    with pytest.raises(SettingsError, match="--lengths must be at least 1, not 0"):
        evaluate(llama, tokenizer, suite, lengths=(0,))

    class Served:
        settings: Mapping[str, Any] = {}

        def replies(self, prompts: Sequence[str], draw: int = 0) -> Iterator[tuple[int, Reply]]:
            raise AssertionError("asked before it was refused")

    with pytest.raises(SettingsError, match="needs the model's tokenizer"):
        evaluate_engine(Served(), suite, model="x", lengths=(8,))
