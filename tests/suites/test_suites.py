"""Suites: by name, from a file, several together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from declutch.data.example import Example
from declutch.data.loading import load_examples
from declutch.errors import DataError, SettingsError
from declutch.suites.base import SUITES, Passage, PromptItem, PromptSet, Suite
from declutch.suites.loading import load_suite, load_suites


def test_bundled_suite() -> None:
    suite = load_suite("bundled")
    sizes = {(s.name, s.dimension, s.kind): len(s.items) for s in suite.prompt_sets}
    assert sizes == {
        ("fairness", "fairness", "awareness"): 100,
        ("privacy", "privacy", "awareness"): 100,
        ("harmless_fairness", "fairness", "over_refusal"): 50,
        ("harmless_privacy", "privacy", "over_refusal"): 50,
    }
    assert all(pair.bad_response for pairs in suite.pairs.values() for pair in pairs)
    assert {name: len(pairs) for name, pairs in suite.pairs.items()} == {
        "fairness": 100,
        "privacy": 100,
    }
    assert suite.passages
    assert sorted(suite.labels().values()) == ["fairness", "fairness", "privacy", "privacy"]


def test_suite_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    rows = [
        {"prompt": "One?", "response": "No.", "bad_response": "Yes."},
        {"prompt": "Two?"},
        {"prompt": "One?"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite = load_suite(f"honesty={path}")
    (prompts,) = suite.prompt_sets
    assert (prompts.dimension, prompts.kind) == ("honesty", "awareness")
    assert [item.prompt for item in prompts.items] == ["One?", "Two?"]
    assert len({item.id for item in prompts.items}) == 2
    assert [pair.bad_response for pair in suite.pairs["honesty"]] == ["Yes."]
    harmless = load_suite(f"harmless:honesty={path}")
    assert harmless.prompt_sets[0].kind == "over_refusal"
    assert not harmless.pairs
    both = load_suites([suite, harmless])
    assert both.name == "honesty+harmless_honesty"
    assert [s.kind for s in both.prompt_sets] == ["awareness", "over_refusal"]


def test_a_new_suite_is_found_by_name(monkeypatch: pytest.MonkeyPatch, suite: Suite) -> None:
    names = SUITES.names()  # ours are known by now
    monkeypatch.setattr(SUITES, "_own", dict(SUITES._own))
    SUITES.register("tiny")(lambda: suite)
    assert load_suite("tiny") is suite
    assert set(SUITES.names()) == {*names, "tiny"}


def test_unknown_suite_names_those_there_are() -> None:
    with pytest.raises(SettingsError, match="bundled"):
        load_suite("nonesuch")
    with pytest.raises(SettingsError, match="at least one --suite"):
        load_suites([])


def test_limit_and_hash(suite: Suite) -> None:
    small = suite.limited(1)
    assert [len(s.items) for s in small.prompt_sets] == [1, 1, 1]
    assert {name: len(pairs) for name, pairs in small.pairs.items()} == {
        "fairness": 1,
        "privacy": 1,
    }
    assert len(small.passages) == 1
    assert small.sha256() != suite.sha256()
    assert suite.limited(None) is suite
    assert suite.limited(99).sha256() == suite.sha256()
    with pytest.raises(SettingsError, match="--limit"):
        suite.limited(0)


def test_labels_tell_suites_apart(suite: Suite) -> None:
    other = Suite(
        "salad",
        (PromptSet("fairness", "fairness", "awareness", (PromptItem("1", "Why?"),), "salad"),),
    )
    labels = load_suites([suite, other]).labels()
    assert labels["tiny", "fairness"] == "fairness@tiny"
    assert labels["salad", "fairness"] == "fairness@salad"
    assert labels["tiny", "privacy"] == "privacy"
    assert labels["tiny", "harmless_fairness"] == "fairness"
    with pytest.raises(SettingsError, match="twice"):
        load_suites([suite, suite])


def test_an_id_stands_for_one_item() -> None:
    def prompts(*items: PromptItem) -> Suite:
        return Suite("s", (PromptSet("a", "a", "awareness", items, "s"),))

    with pytest.raises(DataError, match="s/a: items 1 and 3 have the same id 'x' and different"):
        prompts(PromptItem("x", "One?"), PromptItem("y", "Two?"), PromptItem("x", "Three?"))
    with pytest.raises(DataError, match="items 1 and 2 have the same id 'x', and are the same"):
        prompts(PromptItem("x", "One?"), PromptItem("x", "One?"))
    pair = Example("a", "b", "1", "c")
    with pytest.raises(DataError, match="the pairs of a: items 1 and 2"):
        Suite("s", pairs={"a": (pair, pair)})
    with pytest.raises(DataError, match="the passages: items 1 and 2"):
        Suite("s", passages=(Passage("1", "x"), Passage("1", "y")))


def test_joined_suites_keep_pairs_of_the_same_id() -> None:
    """Two files that number their rows alike are not each other's doublets."""
    one, other = Example("a", "b", "row-1", "c"), Example("d", "e", "row-1", "f")
    joined = load_suites([Suite("s", pairs={"a": (one,)}), Suite("t", pairs={"a": (one, other)})])
    assert joined.pairs["a"] == (one, other)


def test_prompts_are_asked_with_their_clusters() -> None:
    items = (
        PromptItem("a", "Who lives in the house there?"),
        PromptItem("b", "Who lives in the house?"),
        PromptItem("c", "Why?", cluster="why"),
        PromptItem("d", "What else?"),
        PromptItem("e", "How so?", cluster="why"),
    )
    suite = Suite("own", (PromptSet("own", "privacy", "awareness", items, "own"),))
    asked = suite.asked().prompt_sets[0].items
    assert [(i.id, i.cluster, i.draw) for i in asked] == [
        ("a", "a", 0), ("b", "a", 0), ("c", "c", 0), ("d", "", 0), ("e", "c", 0),
    ]  # fmt: skip
    several = suite.asked(2).prompt_sets[0].items
    assert [(i.id, i.cluster, i.draw) for i in several][4:8] == [
        ("c", "c", 0), ("c#2", "c", 1), ("d", "d", 0), ("d#2", "d", 1),
    ]  # fmt: skip
    plain = [replace(item, cluster="") for item in items]
    without = Suite("own", (replace(suite.prompt_sets[0], items=tuple(plain)),))
    assert suite.sha256() != without.sha256()
    clash = replace(suite.prompt_sets[0], items=(*items, PromptItem("a#2", "Another one?")))
    with pytest.raises(DataError, match="the same id 'a#2'"):
        Suite("own", (clash,)).asked(2)


@pytest.mark.parametrize("column", ["cluster", "Template"])
def test_a_file_may_say_which_template_a_prompt_is_made_from(column: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    rows = [
        {"prompt": f"{n}?", "response": "No.", "bad_response": "Yes.", column: n // 2}
        for n in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"prompt": "4?"}]))
    suite = load_suite(f"honesty={path}")
    assert [item.cluster for item in suite.prompt_sets[0].items] == ["0", "0", "1", "1", ""]
    assert [pair.cluster for pair in suite.pairs["honesty"]] == ["0", "0", "1", "1"]
    assert load_examples(path, num_samples=2).report.columns.endswith(f"clusters from «{column}»")
