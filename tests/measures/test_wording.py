"""Cautionary phrases: counted as given, found by log-odds, compared reply by reply."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from declutch.comparing import statistics
from declutch.comparing.results import SetFacts
from declutch.evaluating.compare import compare
from declutch.evaluating.evaluate import evaluate
from declutch.measures.base import Evidence
from declutch.measures.wording import Wording
from declutch.measures.wording.phrases import occurrences, phrase_key, phrases_for, words
from declutch.measures.wording.shift import log_odds, shifted_phrases
from declutch.replies.engine import Reply
from declutch.replies.store import ReplyRow
from declutch.replies.transformers_engine import TransformersEngine
from declutch.suites.base import PromptItem, PromptSet, Suite


def test_words_and_phrases() -> None:
    assert words("I can’t—really, I CAN'T say: naïve 42_x!") == [
        "i", "can't", "really", "i", "can't", "say", "naïve", "42", "x",
    ]  # fmt: skip
    text = words("Private? Privately private, a private private life")
    assert occurrences(text, phrase_key("private")) == 4
    assert occurrences(text, phrase_key("Private private")) == 1
    assert occurrences(words("no"), phrase_key("no one")) == 0


def test_default_phrases_fit_the_dimension() -> None:
    assert "consent" in phrases_for("privacy")
    assert "consent" not in phrases_for("fairness")
    assert phrases_for("age") == tuple(p for p in phrases_for("privacy") if p in phrases_for("age"))
    for dimension in ("fairness", "privacy"):
        assert all(" ".join(phrase_key(p)) == p for p in phrases_for(dimension))


def test_metrics_are_rates_in_a_thousand_words() -> None:
    texts = {
        "privacy": ["sorry, no", "sorry sorry it is so", "", "", "", ""],
        "fairness": [""],
    }
    evidence = Evidence(
        sets=[
            SetFacts(
                suite="s", set=name, kind="awareness", dimension=name, label=name, prompts=len(said)
            )
            for name, said in texts.items()
        ],
        replies=[
            ReplyRow("s", name, str(n), f"Prompt {n}?", text, "stop")
            for name, said in texts.items()
            for n, text in enumerate(said)
        ],
    )
    metrics = {m.name: m for m in Wording().metrics(evidence)}
    used = metrics["wording/privacy/sorry"]
    assert used.value == pytest.approx(1000 * 3 / 7)
    assert (used.total, used.dimension, used.better) == (6, "privacy", "none")
    assert used.note == "in 1,000 words: 3 times in 7 words of 6 replies"
    low, value, high = used.low, used.value, used.high
    assert low is not None
    assert value is not None
    assert high is not None
    assert low <= value <= high
    unused = metrics["wording/privacy/consent"]
    # No use in n words: the rate at which that would happen once in forty times.
    assert (unused.value, unused.low) == (0, 0)
    assert unused.high is not None
    assert math.exp(-unused.high * 7 / 1000) == pytest.approx(0.025)
    nothing = metrics["wording/fairness/sorry"]
    assert (nothing.value, nothing.low, nothing.high) == (None, None, None)


def test_log_odds_by_the_formula() -> None:
    before, after = {"a": 4, "b": 6}, {"a": 9, "c": 1}
    found = log_odds(before, after, prior=5.0)
    # «a» is 13 of 20, so its prior weight is 3.25.
    ratio = math.log(12.25 / (15 - 12.25)) - math.log(7.25 / (15 - 7.25))
    assert found["a"][0] == pytest.approx(ratio)
    assert found["a"][1] == pytest.approx(ratio / math.sqrt(1 / 12.25 + 1 / 7.25))
    assert found["b"][0] < 0 < found["c"][0]
    # The heavier the prior, the nearer to nothing.
    assert abs(log_odds(before, after, prior=500.0)["a"][0]) < ratio / 5


def test_shift_finds_the_phrase_that_was_added() -> None:
    common = "the quick brown fox tells the lazy dog some story number"
    before = {str(n): words(f"{common} {n}") for n in range(60)}
    after = {
        key: [*text, *words("that is private information")] if int(key) % 3 else text
        for key, text in before.items()
    }
    after["new"] = words("never seen before " * 50)
    rows = shifted_phrases("privacy", before, after, prior=50)
    first = rows[0]
    assert first.before == 0
    assert (first.after, first.after_replies, first.before_replies) == (40, 40, 0)
    assert set(first.phrase.split()) <= {"that", "is", "private", "information"}
    assert first.z > 3
    assert first.p_holm < 0.05
    total = sum(len(text) for key, text in after.items() if key in before)
    assert first.after_rate == pytest.approx(1000 * 40 / total)
    assert first.low < first.after_rate - first.before_rate < first.high
    # Overlapping phrases with the same change are said once, and unpaired replies not at all.
    assert not any(row.phrase in first.phrase or first.phrase in row.phrase for row in rows[1:])
    assert len([row for row in rows if row.after - row.before == 40]) <= 2
    assert not any("never" in row.phrase for row in rows)
    mirrored = shifted_phrases("privacy", {k: after[k] for k in before}, before, prior=50)
    assert mirrored[0].z == pytest.approx(-first.z)
    assert len(shifted_phrases("privacy", before, after, most=1)) == 1


def test_nothing_shifts_between_the_same_replies() -> None:
    same = {str(n): words(f"one two three {n % 4}") for n in range(9)}
    assert shifted_phrases("privacy", same, same) == []
    assert shifted_phrases("privacy", same, {}) == []


def test_paired_ratio() -> None:
    before, after = [(1, 10), (0, 30)] * 3, [(2, 10), (2, 10)] * 3
    found = statistics.paired_ratio(before, after)
    assert found.difference == pytest.approx(4 / 20 - 1 / 40)
    # Of six items, the subsets of one item are the ends.
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.2)
    assert statistics.paired_ratio([(0, 0)] * 6, [(0, 0)] * 6).difference == 0
    with pytest.raises(ValueError, match="same items"):
        statistics.paired_ratio(before, after[:1])


def test_evaluated_and_compared(
    llama: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    suite: Suite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = "sorry that is private"

    def replies(_: TransformersEngine, prompts: Sequence[str]) -> Iterator[tuple[int, Reply]]:
        for number, _prompt in enumerate(prompts):
            yield number, Reply(said if number < 7 else "sorry sorry", "stop")

    monkeypatch.setattr(TransformersEngine, "replies", replies)
    results = evaluate(llama, tokenizer, suite, out=tmp_path / "a")
    assert results.metric("wording/privacy/private").value == pytest.approx(1000 / 4)
    assert results.metric("wording/fairness/sorry").total == 4  # the harmless ones are not in it
    said = "here you are then"
    evaluate(llama, tokenizer, suite, out=tmp_path / "b")
    comparison = compare(tmp_path / "a", tmp_path / "b")
    row = comparison.row("wording/privacy/private")
    assert row.difference == pytest.approx(-250)
    assert (row.n_pairs, row.test) == (3, "too few to tell")
    assert "wording" not in comparison.tables  # four replies and three are too few


def test_shifts_are_found_in_folders(
    llama: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = tuple(PromptItem(str(n), f"Who is {n}?") for n in range(6))
    suite = Suite("made", (PromptSet("privacy", "privacy", "awareness", items, "made"),))
    for name, said in (("a", "sorry that is private"), ("b", "here you are then")):

        def replies(
            _: TransformersEngine, prompts: Sequence[str], said: str = said
        ) -> Iterator[tuple[int, Reply]]:
            return ((number, Reply(said, "stop")) for number in range(len(prompts)))

        monkeypatch.setattr(TransformersEngine, "replies", replies)
        evaluate(llama, tokenizer, suite, out=tmp_path / name)
    comparison = compare(tmp_path / "a", tmp_path / "b")
    row = comparison.row("wording/privacy/private")
    assert (row.n_pairs, row.test) == (6, "exact randomisation")
    assert comparison.as_json()["wording"][0]["dimension"] == "privacy"
    table = comparison.tables["wording"]
    assert len(table.rows) == len(table.values) <= 10
    assert table.values == comparison.as_json()["wording"]
    assert {(one["before"], one["after"]) for one in table.values} >= {(6, 0)}
    assert all(len(row) == len(table.columns) for row in table.rows)
