"""Measures that are made of replies and verdicts: awareness, over-refusal, kinds of replies."""

from __future__ import annotations

from typing import Any

import pytest

from declutch.comparing.results import Metric
from declutch.measures.awareness import Awareness
from declutch.measures.base import MEASURES, Evidence, Measure, all_measures, set_facts
from declutch.measures.over_caution import OverCaution
from declutch.measures.over_refusal import OverRefusal
from declutch.measures.reply_kinds import ReplyKinds
from declutch.replies.engine import Finish
from declutch.replies.store import ReplyRow
from declutch.replies.verdicts import Awareness as Aware
from declutch.replies.verdicts import Manner, Verdict
from declutch.suites.base import PromptItem, PromptSet, Suite

REPLIES: list[tuple[str, Finish, Aware, Manner]] = [
    ("I can't help with that.", "stop", "aware", "refuses"),
    ("Sure, here it is.", "stop", "unaware", "answers"),
    ("<think>I can't say.</think>Sure!", "stop", "unaware", "hedges"),
    ("", "stop", "unparsed", "unparsed"),
    ("It goes on and", "length", "unaware", "partly"),
    ("no " * 12, "length", "unaware", "lectures"),
    ("That is private.", "stop", "aware", "hedges"),
]


@pytest.fixture
def evidence() -> Evidence:
    """The same replies to prompts of two suites, and to harmless ones."""
    items = tuple(PromptItem(str(n), f"Prompt {n}?") for n in range(len(REPLIES)))
    sets = (
        PromptSet("privacy", "privacy", "awareness", items, "one"),
        PromptSet("privacy", "privacy", "awareness", items, "two"),
        PromptSet("harmless", "privacy", "over_refusal", items, "one"),
    )
    rows = [
        ReplyRow(
            each.suite, each.name, item.id, item.prompt, text, finish,
            {"j": Verdict(verdict), "m": Verdict(manner)},
        )
        for each in sets
        for item, (text, finish, verdict, manner) in zip(items, REPLIES, strict=True)
    ]  # fmt: skip
    return Evidence(set_facts(Suite("one+two", sets)), ["j"], rows, manner_judges=["m"])


def metrics(measure: type[Measure[Any]], evidence: Evidence) -> dict[str, Metric]:
    found = measure().metrics(evidence)
    assert {metric.group for metric in found} == {measure.facts.name}
    return {metric.name: metric for metric in found}


def test_awareness_is_of_the_parsed_ones(evidence: Evidence) -> None:
    found = metrics(Awareness, evidence)
    assert [*found] == ["awareness/privacy@one/j", "awareness/privacy@two/j"]
    for metric in found.values():
        assert (metric.count, metric.total, metric.better) == (2, 6, "higher")
        assert (metric.dimension, metric.judge) == ("privacy", "j")
        assert metric.note.endswith("1 unparsed of 7 left out")


def test_over_refusal_is_of_harmless_prompts(evidence: Evidence) -> None:
    found = metrics(OverRefusal, evidence)
    (metric,) = found.values()
    # A lecture in place of an answer is a refusal; an empty reply is none.
    assert metric.name == "over_refusal/privacy/m"
    assert (metric.count, metric.total, metric.better) == (2, 7, "lower")


def test_over_caution_is_apart_from_refusal(evidence: Evidence) -> None:
    (metric,) = metrics(OverCaution, evidence).values()
    assert metric.name == "over_caution/privacy/m"
    assert (metric.count, metric.total, metric.better) == (3, 7, "lower")


def test_kinds_are_counted_apart(evidence: Evidence) -> None:
    found = metrics(ReplyKinds, evidence)
    counts = {name: metric.count for name, metric in found.items()}
    expected = {"empty": 1, "cut": 2, "repeated": 1}
    for label in ("privacy@one", "privacy@two", "harmless_privacy"):
        for kind, count in expected.items():
            assert counts.pop(f"{kind}/{label}") == count
        if label != "harmless_privacy":
            assert counts.pop(f"unparsed/{label}/j") == 1
            assert counts.pop(f"refused/{label}/m") == 2
    assert counts == {}
    assert {found[f"{kind}/privacy@one"].better for kind in ("empty", "repeated")} == {"lower"}
    assert found["cut/privacy@one"].better == "none"


def test_all_measures_have_one_name_and_stand_in_order() -> None:
    found = all_measures()
    assert [one.facts.name for one in found] == [
        "awareness", "flow", "over_refusal", "over_caution", "choices", "bias", "reply_kinds",
        "by_type", "by_length", "agreement", "margin", "perplexity", "capability", "dependence",
        "wording",
    ]  # fmt: skip
    assert all(one.facts.name in MEASURES for one in found)
    assert [one.facts.name for one in found if one.facts.role == "outcome"] == ["awareness"]
    main = [one.facts.name for one in found if one.facts.family == "main"]
    assert main == [
        "awareness", "over_refusal", "over_caution", "choices", "margin", "perplexity",
        "capability",
    ]  # fmt: skip
    # Every other family is of one measure.
    others = [one.facts.family for one in found if one.facts.family != "main"]
    assert len({*others}) == len(others)
    assert all(one.facts.title and one.facts.note for one in found)
