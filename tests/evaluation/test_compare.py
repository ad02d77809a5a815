"""Two results side by side, prompt by prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from declutch.errors import FileFormatError, SettingsError
from declutch.evaluation import statistics
from declutch.evaluation.awareness import reply_metrics, suite_keys
from declutch.evaluation.compare import Comparison, compare
from declutch.evaluation.judges import Verdict
from declutch.evaluation.margin import MarginRow, margin_metrics
from declutch.evaluation.perplexity import PerplexityRow, perplexity_metrics
from declutch.evaluation.replies import Reply
from declutch.evaluation.results import Metric, ModelRecord, Results
from declutch.evaluation.store import ReplyStore
from declutch.evaluation.suites import PromptItem, PromptSet, Suite
from declutch.files import write_jsonl

N = 12


def a_suite(count: int = N) -> Suite:
    items = tuple(PromptItem(str(n), f"Prompt {n}?") for n in range(count))
    return Suite(
        "tiny",
        (
            PromptSet("privacy", "privacy", "awareness", items, "tiny"),
            PromptSet("harmless_privacy", "privacy", "over_refusal", items[:4], "tiny"),
        ),
    )


def write(
    folder: Path,
    verdicts: str,
    *,
    margins: list[float],
    nll: list[float],
    refused: int = 0,
    extra: tuple[Metric, ...] = (),
    **settings: Any,
) -> Path:
    """An evaluation's folder: a letter a prompt, a(ware), u(naware) or x (unparsed)."""
    suite = a_suite(len(verdicts))
    words = {"a": "aware", "u": "unaware", "x": "unparsed"}
    store = ReplyStore(folder, {"made": "by hand"})
    for n, letter in enumerate(verdicts):
        store.add("tiny", "privacy", str(n), f"Prompt {n}?", Reply(f"Reply {n}.", "stop"))
        store["tiny", "privacy", str(n)].verdicts["fake"] = Verdict(words[letter])  # type: ignore[arg-type]
    for n in range(4):
        text = "I can't say." if n < refused else "It is so."
        store.add("tiny", "harmless_privacy", str(n), f"Prompt {n}?", Reply(text, "stop"))
    store.save(suite_keys(suite))
    margin_rows = [
        MarginRow("privacy", str(n), value, 0.0, value) for n, value in enumerate(margins)
    ]
    passages = [PerplexityRow("general", str(n), value, 10) for n, value in enumerate(nll)]
    write_jsonl(folder / "margins.jsonl", [row.as_json() for row in margin_rows])
    write_jsonl(folder / "perplexity.jsonl", [row.as_json() for row in passages])
    Results(
        model=ModelRecord(id="tiny", fingerprint="f", dtype="float32"),
        settings={
            "suite_sha256": suite.sha256(),
            "decoding": {"max_new_tokens": 64},
            "judges": {"fake": {"version": 1}},
            "sets": [
                {"suite": "tiny", "set": s.name, "kind": s.kind, "label": "privacy"}
                for s in suite.prompt_sets
            ],
            **settings,
        },
        metrics=(
            *reply_metrics(suite, store, ["fake"]),
            *margin_metrics(margin_rows),
            *perplexity_metrics(passages),
            *extra,
        ),
    ).save(folder)
    return folder


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return write(
        tmp_path / "a", "uuuuuuuuaaax", margins=[0.1, -0.2, 0.3], nll=[20.0, 30.0], refused=1
    )


@pytest.fixture
def after(tmp_path: Path) -> Path:
    return write(
        tmp_path / "b", "aaaaaaauuaax", margins=[0.3, 0.1, 0.4], nll=[22.0, 33.0], refused=3
    )


@pytest.fixture
def comparison(before: Path, after: Path) -> Comparison:
    return compare(before, after)


def test_verdicts_are_paired(comparison: Comparison) -> None:
    row = comparison.row("awareness/privacy/fake")
    assert (row.before.count, row.before.total) == (3, 11)
    assert (row.after.count, row.after.total) == (9, 11)
    assert (row.gained, row.lost, row.n_pairs) == (7, 1, 11)
    expected = statistics.tango(7, 1, 11)
    assert (row.low, row.high) == (expected.low, expected.high)
    assert row.p == pytest.approx(2 * (1 + 8) / 2**8)
    assert row.test == "exact McNemar"
    assert row.improved is True
    assert any("1 of 12 items are left out" in note for note in comparison.notes)


def test_over_refusal_is_of_the_harmless_prompts(comparison: Comparison) -> None:
    row = comparison.row("over_refusal/privacy/heuristic")
    assert (row.before.count, row.after.count, row.n_pairs) == (1, 3, 4)
    assert (row.gained, row.lost) == (2, 0)
    refused = comparison.row("refused/privacy")
    assert (refused.n_pairs, refused.gained) == (12, 0)
    assert comparison.row("cut/harmless_privacy").n_pairs == 4


def test_margins_and_perplexity_are_paired(comparison: Comparison) -> None:
    margin = comparison.row("margin/privacy")
    assert margin.difference == pytest.approx(0.2)
    assert (margin.n_pairs, margin.test) == (3, "paired bootstrap")
    positive = comparison.row("margin_positive/privacy")
    assert (positive.gained, positive.lost) == (1, 0)
    perplexity = comparison.row("perplexity/general")
    assert perplexity.before.value is not None
    assert perplexity.after.value is not None
    assert perplexity.difference == pytest.approx(perplexity.after.value - perplexity.before.value)
    assert perplexity.improved is False


def test_nothing_changed_is_nothing_seen(before: Path) -> None:
    for row in compare(before, before).rows:
        assert row.difference == 0
        assert row.p == 1
        assert row.improved is None


def test_as_json(comparison: Comparison) -> None:
    value = json.loads(json.dumps(comparison.as_json()))
    assert value["rows"][0]["before"]["name"] == value["rows"][0]["name"]
    assert value["before"]["model"]["id"] == "tiny"


def test_other_settings_are_an_error(before: Path, tmp_path: Path) -> None:
    other = write(
        tmp_path / "c",
        "a" * N,
        margins=[0.1],
        nll=[1.0],
        decoding={"max_new_tokens": 32},
        judges={"fake": {"version": 2}},
    )
    with pytest.raises(SettingsError, match="max_new_tokens is 64 before and 32 after") as found:
        compare(before, other)
    assert "judge fake: version is 1 before and 2 after" in str(found.value)


def test_unmatched_prompts_are_counted_and_said(before: Path, tmp_path: Path) -> None:
    fewer = write(tmp_path / "c", "a" * 10, margins=[0.1, 0.2, 0.3], nll=[20.0, 30.0])
    comparison = compare(before, fewer)
    assert comparison.row("awareness/privacy/fake").n_pairs == 10
    notes = " ".join(comparison.notes)
    assert "awareness/privacy/fake: 2 items are in one evaluation only" in notes
    assert "not on the same prompts" in notes


def test_metrics_without_items_and_of_one_side(before: Path, tmp_path: Path) -> None:
    def measured(value: float) -> Metric:
        return Metric(
            name="dependence/layer3", group="dependence", kind="mean", value=value, total=9,
            low=None, high=None,
        )  # fmt: skip

    old = write(tmp_path / "c", "a" * N, margins=[0.1], nll=[1.0], extra=(measured(0.25),))
    new = write(tmp_path / "d", "a" * N, margins=[0.1], nll=[1.0], extra=(measured(0.75),))
    row = compare(old, new).row("dependence/layer3")
    assert (row.difference, row.p, row.test) == (0.5, None, "")
    assert "Only after: dependence/layer3." in compare(before, new).notes


def test_nothing_counted_on_both_sides(tmp_path: Path) -> None:
    old = write(tmp_path / "c", "x" * N, margins=[0.1], nll=[1.0])
    new = write(tmp_path / "d", "a" * N, margins=[0.1], nll=[1.0])
    row = compare(old, new).row("awareness/privacy/fake")
    assert row.before.value is None
    assert (row.difference, row.p, row.n_pairs) == (None, None, 0)


def test_other_tokenizers_are_an_error(before: Path, after: Path) -> None:
    rows = [{"set": "general", "id": str(n), "nll": 9.0, "tokens": 11} for n in range(2)]
    write_jsonl(after / "perplexity.jsonl", rows)
    with pytest.raises(SettingsError, match="different tokenizers"):
        compare(before, after)


def test_damage_is_named(before: Path, after: Path) -> None:
    write_jsonl(after / "margins.jsonl", [{"set": "privacy", "id": "0"}])
    with pytest.raises(FileFormatError, match=r"margins\.jsonl, row 1"):
        compare(before, after)
    (after / "results.json").unlink()
    with pytest.raises(FileFormatError, match=r"results\.json does not exist"):
        compare(before, after)


def test_unknown_row(comparison: Comparison) -> None:
    with pytest.raises(SettingsError, match="margin/privacy"):
        comparison.row("nonesuch")


def test_effects_and_prompts_needed(comparison: Comparison) -> None:
    row = comparison.row("awareness/privacy/fake")
    # 3 aware of 11 before, 9 after.
    assert (row.gained, row.lost, row.n_pairs) == (7, 1, 11)
    assert row.effect == pytest.approx(statistics.cohens_h(9 / 11, 3 / 11))
    assert row.effect_name == "Cohen's h"
    assert row.prompts_needed == statistics.prompts_needed(6 / 11, 8 / 11)
    margin = comparison.row("margin/privacy")
    assert margin.effect_name == "d_z"
    assert margin.effect == pytest.approx(statistics.cohens_dz([0.1, -0.2, 0.3], [0.3, 0.1, 0.4]))
    assert margin.prompts_needed is None
    unchanged = comparison.row("empty/privacy")
    assert (unchanged.effect, unchanged.prompts_needed) == (0.0, None)


def test_holm_is_taken_family_by_family(comparison: Comparison) -> None:
    main = ("awareness", "over_refusal", "margin", "perplexity", "capability")
    rows = [row for row in comparison.rows if row.before.group in main and row.p is not None]
    assert len(rows) >= 5
    assert [row.p_holm for row in rows] == list(statistics.holm([row.p or 0 for row in rows]))
    kinds = [row for row in comparison.rows if row.before.group == "reply_kinds"]
    assert [row.p_holm for row in kinds] == list(statistics.holm([row.p or 0 for row in kinds]))


def test_another_max_length_is_named(tmp_path: Path) -> None:
    for name, length in (("before", 64), ("after", 128)):
        write(tmp_path / name, "aaua", margins=[0.1, 0.2], nll=[3.0, 4.0], max_length=length)
    with pytest.raises(SettingsError, match="max_length is 64 before and 128 after"):
        compare(tmp_path / "before", tmp_path / "after")
