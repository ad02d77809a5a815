"""Agreement of judges: kappa with its interval, and the replies on which they differ."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from declutch.comparing import statistics
from declutch.evaluating.evaluate import evaluate
from declutch.judges import Verdict
from declutch.measures.agreement import Agreement, Kappa
from declutch.measures.base import Evidence, set_facts
from declutch.replies.engine import Reply
from declutch.replies.store import ReplyStore
from declutch.replies.verdicts import VerdictName
from declutch.suites.base import PromptItem, PromptSet, Suite

A: VerdictName = "aware"
U: VerdictName = "unaware"
N: VerdictName = "unparsed"


def judged(pairs: list[tuple[VerdictName, VerdictName]], *judges: str) -> Evidence:
    """Replies that two judges, x and y, judged so."""
    items = tuple(PromptItem(str(n), f"prompt {n}") for n in range(len(pairs)))
    suite = Suite("s", (PromptSet("fairness", "fairness", "awareness", items, "s"),))
    store = ReplyStore(None, {})
    for item, (first, second) in zip(items, pairs, strict=True):
        store.add("s", "fairness", item.id, item.prompt, Reply("r", "stop"))
        store["s", "fairness", item.id].verdicts.update(
            x=Verdict(first),
            y=Verdict(second, "why"),
            z=Verdict(A),
        )
    return Evidence(set_facts(suite), judges or ("x", "y"), list(store))


def test_kappa_by_hand() -> None:
    # 20 both aware, 15 both unaware, 5 and 10 differ: the textbook's table, kappa 0.4.
    pairs = [(A, A)] * 20 + [(U, U)] * 15 + [(A, U)] * 5 + [(U, A)] * 10 + [(N, A)] * 2
    (metric,) = Agreement().metrics(judged(pairs))
    assert metric.name == "agreement/fairness/x~y"
    assert metric.group == "agreement"
    assert metric.value == pytest.approx(0.4)
    assert metric.total == 50
    assert metric.low is not None
    assert metric.high is not None
    assert metric.low < 0.4 < metric.high
    assert "same verdict on 35 of 50" in metric.note
    assert "2 of 52 left out" in metric.note


def test_what_they_differ_on() -> None:
    rows = Agreement().files(judged([(A, A), (A, U), (N, U), (U, U)]))["disagreements.jsonl"]
    assert rows is not None
    assert [row["id"] for row in rows] == ["1", "2"]
    assert rows[0]["verdicts"]["y"] == {"verdict": "unaware", "reason": "why"}


@pytest.mark.parametrize("pairs", [[(A, A)] * 3, [(N, A), (A, N)]])
def test_no_kappa_where_nothing_can_be_said(pairs: list[tuple[VerdictName, VerdictName]]) -> None:
    (metric,) = Agreement().metrics(judged(pairs))
    assert metric.value is metric.low is metric.high is None


def test_one_judge_and_three() -> None:
    pairs = [(A, A), (A, U)]
    assert Agreement().metrics(judged(pairs, "x")) == []
    assert Agreement().files(judged(pairs, "x")) == {"disagreements.jsonl": None}
    names = [m.name for m in Agreement().metrics(judged(pairs, "x", "y", "z"))]
    assert names == [f"agreement/fairness/{pair}" for pair in ("x~y", "x~z", "y~z")]


def test_the_difference_is_told_and_not_tested() -> None:
    half = [(A, A)] * 5 + [(U, U)] * 5 + [(A, U)] * 5 + [(U, A)] * 5
    found = Kappa().paired(half, [(A, A), (U, U)] * 10, 0)
    assert found.difference == pytest.approx(1.0)
    assert (found.p, found.low, found.high, found.test) == (None, None, None, "")
    assert Kappa().paired([(A, A)] * 20, half, 0).difference is None


def test_the_interval() -> None:
    a = [A] * 60 + [U] * 60
    b = [A] * 50 + [U] * 10 + [U] * 50 + [A] * 10
    interval = statistics.kappa_interval(a, b, seed=1)
    # The large-sample standard error of this table is 0.068.
    assert interval.low == pytest.approx(2 / 3 - 1.96 * 0.068, abs=0.02)
    assert interval.high == pytest.approx(2 / 3 + 1.96 * 0.068, abs=0.02)
    assert statistics.kappa_interval(a, b, seed=1) == interval
    same = statistics.kappa_interval(a, a)
    assert same.low == pytest.approx(1)
    assert same.high == pytest.approx(1)


def test_in_an_evaluation(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite, tmp_path: Path
) -> None:
    judges = ["heuristic", "heuristic:name=again"]
    results = evaluate(llama, tokenizer, suite, judges=judges, out=tmp_path, max_new_tokens=4)
    found = [m for m in results.metrics if m.group == "agreement"]
    assert [m.name for m in found] == [
        "agreement/fairness/heuristic~again",
        "agreement/privacy/heuristic~again",
    ]
    assert (tmp_path / "disagreements.jsonl").read_text() == ""
    rows = [json.loads(line) for line in (tmp_path / "replies.jsonl").read_text().splitlines()]
    assert set(rows[0]["verdicts"]) == {"heuristic", "again", "refusal"}
    evaluate(llama, tokenizer, suite, out=tmp_path, max_new_tokens=4)
    assert not (tmp_path / "disagreements.jsonl").exists()
