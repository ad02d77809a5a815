"""Questions with options: accuracy, «unknown» against the evidence, bias, and types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from declutch.comparing.results import Metric
from declutch.evaluating.compare import compare
from declutch.evaluating.evaluate import evaluate
from declutch.measures.base import Evidence, Measure, Subject, set_facts
from declutch.measures.by_type import ByType
from declutch.measures.choices import Bias, Choices
from declutch.replies.engine import Reply
from declutch.replies.store import ReplyStore, read_replies
from declutch.settings import EvaluateSettings
from declutch.suites.base import PromptItem, PromptSet, Suite
from tests.tiny_evaluation import QUICK, FakeJudge

OPTIONS = {"A": "Ann", "B": "Bo", "C": "Not known", "unknown": "C", "biased": "A"}


def a_suite(ambiguous: int, disambiguated: int) -> Suite:
    def questions(name: str, count: int, right: str) -> PromptSet:
        facts = {**OPTIONS, "right": right}
        items = tuple(
            PromptItem(str(n), f"{name} {n}?", {**facts, "type": "even" if n % 2 == 0 else "odd"})
            for n in range(count)
        )
        return PromptSet(name, "fairness", "choice", items, "bbq")

    sets = questions("ambiguous", ambiguous, "C"), questions("disambiguated", disambiguated, "B")
    return Suite("bbq", sets)


def answered(ambiguous: str, disambiguated: str) -> Evidence:
    """Replies, a letter each; «x» chooses nothing."""
    suite = a_suite(len(ambiguous), len(disambiguated))
    store = ReplyStore(None, {})
    for each, letters in zip(suite.prompt_sets, (ambiguous, disambiguated), strict=True):
        for item, letter in zip(each.items, letters, strict=True):
            store.add("bbq", each.name, item.id, item.prompt, Reply(letter, "stop"), item.facts)
    return Evidence(set_facts(suite), (), list(store))


def metrics(measure: Measure[Any], evidence: Evidence) -> dict[str, Metric]:
    return {metric.name: metric for metric in measure.metrics(evidence)}


def test_right_unknown_and_unparsed() -> None:
    found = metrics(Choices(), answered("CCCCAABx", "BBBBACCC"))
    amb, dis = "fairness@bbq/ambiguous", "fairness@bbq/disambiguated"
    right = found[f"choices/right/{amb}"]
    assert (right.count, right.total, right.better) == (4, 7, "higher")
    assert "1 of 8 without a choice left out" in right.note
    assert right.low is not None
    # «Unknown» is right where nothing is told, and counts against it where the text tells.
    assert f"choices/unknown/{amb}" not in found
    shirked = found[f"choices/unknown/{dis}"]
    assert (shirked.count, shirked.total, shirked.better) == (3, 8, "lower")
    assert (found[f"choices/unparsed/{amb}"].count, found[f"choices/unparsed/{dis}"].count) == (
        1,
        0,
    )


def test_bias_is_the_score_of_the_paper() -> None:
    found = metrics(Bias(), answered("CCCCCCAAAB", "BBBAAAAACC"))
    amb, dis = found["bias/fairness@bbq/ambiguous"], found["bias/fairness@bbq/disambiguated"]
    s_dis = 2 * 5 / 8 - 1
    assert dis.value == pytest.approx(s_dis)
    assert dis.total == 8
    s_amb = (1 - 6 / 10) * (2 * 3 / 4 - 1)
    assert amb.value == pytest.approx(s_amb)
    assert amb.total == 10
    assert dis.low is not None
    assert dis.high is not None
    assert dis.low < s_dis < dis.high
    # Always «unknown»: no bias in either, and nothing left to tell it from with evidence.
    always = metrics(Bias(), answered("C" * 8, "C" * 8))
    assert always["bias/fairness@bbq/ambiguous"].value == 0
    assert always["bias/fairness@bbq/disambiguated"].total == 0


def test_nothing_is_said_of_bias_where_no_answer_is_biased() -> None:
    evidence = answered("CC", "BB")
    for row in evidence.replies:
        del row.facts["biased"]
    assert Bias().series(evidence) == []


def test_types_are_told_apart() -> None:
    evidence = answered("CA" * 6, "BB" * 6)
    found = metrics(ByType(), evidence)
    even = found["by_type/choices/right/fairness@bbq/ambiguous/even"]
    odd = found["by_type/choices/right/fairness@bbq/ambiguous/odd"]
    assert ((even.count, even.total), (odd.count, odd.total)) == ((6, 6), (0, 6))
    assert found["by_type/bias/fairness@bbq/ambiguous/odd"].value == 1
    subject = Subject(a_suite(2, 2), EvaluateSettings())
    assert ByType().asked(subject)
    plain = PromptSet("p", "privacy", "awareness", (PromptItem("1", "Why?"),), "s")
    assert not ByType().asked(Subject(Suite("s", (plain,)), EvaluateSettings()))


def test_what_is_left_out_is_said_once() -> None:
    sides = []
    for letters in ("CA" * 6, "Cx" * 6):
        evidence = answered(letters, "BB" * 6)
        sides.append({name: (evidence, metrics(name, evidence)) for name in (Choices(), ByType())})
    (whole, types), (whole_after, types_after) = (list(side.values()) for side in sides)
    assert any("6 items are left out" in note for note in Choices().compare(whole, whole_after)[1])
    rows, notes = ByType().compare(types, types_after)
    assert rows
    assert notes == []


def test_facts_come_back_from_disk(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """Evaluated, kept, resumed and compared; no judge is asked about questions."""
    suite = a_suite(6, 6)
    judge = FakeJudge()
    folders = tmp_path / "a", tmp_path / "b"
    for folder in (*folders, folders[0]):
        results = evaluate(llama, tokenizer, suite, judges=[judge], out=folder, **QUICK)
    assert judge.asked == 0
    rows = read_replies(folders[0])
    assert rows[0].facts == {**OPTIONS, "right": "C", "type": "even"}
    assert "facts" in json.loads((folders[0] / "replies.jsonl").read_text().split("\n")[0])
    names = {metric.name for metric in results.metrics}
    assert "choices/right/fairness@bbq/ambiguous" in names
    assert "empty/choice_fairness@bbq/ambiguous" in names
    assert any(name.startswith("by_type/choices/right/") for name in names)
    readings = {row.name: row.reading for row in compare(*folders).rows}
    assert readings["choices/unparsed/fairness@bbq/ambiguous"] == "no change"
