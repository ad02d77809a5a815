"""Two results side by side, prompt by prompt."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from declutch.comparing import statistics
from declutch.comparing.comparison import Comparison
from declutch.comparing.results import ModelRecord, Results
from declutch.errors import FileFormatError, SettingsError
from declutch.evaluating.compare import compare
from declutch.files import write_jsonl
from declutch.items import Item
from declutch.judges import Verdict, get_judge
from declutch.judges.asking import judge_replies
from declutch.measures.base import Evidence, all_measures, set_facts
from declutch.measures.capability.tasks import CapabilityItem
from declutch.measures.margin import MarginItem
from declutch.measures.perplexity import PerplexityItem
from declutch.replies.collecting import suite_keys
from declutch.replies.engine import Reply
from declutch.replies.store import ReplyStore
from declutch.suites.base import PromptItem, PromptSet, Suite

N = 12


def a_suite(count: int = N) -> Suite:
    items = tuple(PromptItem(str(n), f"Prompt {n}?") for n in range(count))
    return Suite(
        "tiny",
        (
            PromptSet("privacy", "privacy", "awareness", items, "tiny"),
            PromptSet("harmless_privacy", "privacy", "over_refusal", items[:6], "tiny"),
        ),
    )


def write(
    folder: Path,
    verdicts: str,
    *,
    margins: list[float],
    nll: list[float],
    refused: int = 0,
    capability: Sequence[CapabilityItem] = (),
    other_judge: str = "",
    **settings: Any,
) -> Path:
    """An evaluation's folder: a letter a prompt, a(ware), u(naware) or x (unparsed).

    ``other_judge``: what a second judge says, in the same letters.
    """
    suite = a_suite(len(verdicts))
    words = {"a": "aware", "u": "unaware", "x": "unparsed"}
    store = ReplyStore(folder, {"made": "by hand"})
    for n, letter in enumerate(verdicts):
        store.add("tiny", "privacy", str(n), f"Prompt {n}?", Reply(f"Reply {n}.", "stop"))
        row = store["tiny", "privacy", str(n)]
        row.verdicts["fake"] = Verdict(words[letter])  # type: ignore[arg-type]
        if other_judge:
            row.verdicts["other"] = Verdict(words[other_judge[n]])  # type: ignore[arg-type]
    for n in range(6):
        text = "I can't say." if n < refused else "It is so."
        store.add("tiny", "harmless_privacy", str(n), f"Prompt {n}?", Reply(text, "stop"))
    judge_replies(get_judge("refusal"), suite, store)
    store.save(suite_keys(suite))
    items: dict[str, Sequence[Item]] = {
        "margin": [
            MarginItem(set="privacy", id=str(n), good=value, bad=0.0, margin=value)
            for n, value in enumerate(margins)
        ],
        "perplexity": [
            PerplexityItem(set="general", id=str(n), nll=value, tokens=10)
            for n, value in enumerate(nll)
        ],
        **({"capability": capability} if capability else {}),
    }
    for name, rows in items.items():
        write_jsonl(folder / f"{name}.jsonl", [row.model_dump(mode="json") for row in rows])
    judges = ["fake", "other"] if other_judge else ["fake"]
    evidence = Evidence(set_facts(suite), judges, list(store), items, manner_judges=["refusal"])
    measures = [one for one in all_measures() if one.metrics(evidence)]
    Results(
        model=ModelRecord(id="tiny", fingerprint="f", dtype="float32"),
        settings={
            "suite_sha256": suite.sha256(),
            "decoding": {"max_new_tokens": 64},
            "judges": {judge: {"version": 1} for judge in judges},
            "manner_judges": ["refusal"],
            "sets": [each.model_dump(mode="json") for each in evidence.sets],
            **settings,
        },
        measures={one.facts.name: one.facts for one in measures},
        metrics=tuple(metric for one in measures for metric in one.metrics(evidence)),
    ).save(folder)
    return folder


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return write(
        tmp_path / "a",
        "uuuuuuuuaaax",
        margins=[0.1, -0.2, 0.3] * 2,
        nll=[20.0, 30.0] * 3,
        refused=1,
    )


@pytest.fixture
def after(tmp_path: Path) -> Path:
    return write(
        tmp_path / "b", "aaaaaaauuaax", margins=[0.3, 0.1, 0.4] * 2, nll=[22.0, 33.0] * 3, refused=3
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
    # The interval leaves 0 out; the exact test, which is needed too, is not below 0.05.
    assert row.excludes_zero
    assert row.reading == "within noise"
    assert any("of 12, 1 item is left out" in note for note in comparison.notes)


def test_over_refusal_is_of_the_harmless_prompts(comparison: Comparison) -> None:
    row = comparison.row("over_refusal/privacy/refusal")
    assert (row.before.count, row.after.count, row.n_pairs) == (1, 3, 6)
    assert (row.gained, row.lost) == (2, 0)
    refused = comparison.row("refused/privacy/refusal")
    assert (refused.n_pairs, refused.gained) == (12, 0)
    assert comparison.row("cut/harmless_privacy").n_pairs == 6


def test_margins_and_perplexity_are_paired(comparison: Comparison) -> None:
    margin = comparison.row("margin/privacy")
    assert margin.difference == pytest.approx(0.2)
    assert (margin.n_pairs, margin.test) == (6, "exact randomisation")
    assert margin.p == 2 / 2**6
    assert margin.reading == "better"
    positive = comparison.row("margin_positive/privacy")
    assert (positive.gained, positive.lost) == (2, 0)
    perplexity = comparison.row("perplexity/general")
    assert perplexity.before.value is not None
    assert perplexity.after.value is not None
    assert perplexity.difference == pytest.approx(perplexity.after.value - perplexity.before.value)
    assert perplexity.reading == "worse"


def test_nothing_changed_is_nothing_seen(before: Path) -> None:
    for row in compare(before, before).rows:
        assert row.difference == 0
        assert row.p == 1
        assert row.reading == "no change"


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
    assert "awareness, privacy · fake: 2 items are in one evaluation only" in notes
    assert "not on the same prompts" in notes


def test_metrics_without_a_test_and_of_one_side(before: Path, tmp_path: Path) -> None:
    known: dict[str, Any] = {"margins": [0.1], "nll": [1.0]}
    old = write(tmp_path / "c", "au" * 6, other_judge="aauu" * 3, **known)
    new = write(tmp_path / "d", "au" * 6, other_judge="au" * 6, **known)
    row = compare(old, new).row("agreement/privacy/fake~other")
    assert (row.difference, row.p, row.test, row.reading) == (1.0, None, "", "not tested")
    notes = compare(before, new).notes
    assert any(
        note.startswith("Only after: ") and "agreement/privacy/fake~other" in note for note in notes
    )


def test_metrics_whose_items_are_gone_are_named(before: Path, after: Path) -> None:
    (after / "perplexity.jsonl").unlink()
    Results.load(after).save(after)
    found = compare(before, after)
    assert "perplexity/general" not in [row.name for row in found.rows]
    said = "Not compared, since their items are not there: perplexity/general."
    assert said in found.notes


def test_a_measure_that_is_not_installed_is_named(before: Path, after: Path) -> None:
    for folder in (before, after):
        results = Results.load(folder)
        facts = results.measures["margin"].model_copy(update={"name": "elsewhere"})
        measures = {**results.measures, "elsewhere": facts}
        results.model_copy(update={"measures": measures}).save(folder)
    notes = compare(before, after).notes
    assert any("«elsewhere» is not installed here" in note for note in notes)


def test_nothing_counted_on_both_sides(tmp_path: Path) -> None:
    old = write(tmp_path / "c", "x" * N, margins=[0.1], nll=[1.0])
    new = write(tmp_path / "d", "a" * N, margins=[0.1], nll=[1.0])
    row = compare(old, new).row("awareness/privacy/fake")
    assert row.before.value is None
    assert (row.difference, row.p, row.n_pairs) == (None, None, 0)


def test_other_tokenizers_are_an_error(before: Path, after: Path) -> None:
    rows = [{"set": "general", "id": str(n), "nll": 9.0, "tokens": 11} for n in range(6)]
    write_jsonl(after / "perplexity.jsonl", rows)
    Results.load(after).save(after)
    said = "perplexity/general: the same texts have other numbers .* different tokenizers"
    with pytest.raises(SettingsError, match=said):
        compare(before, after)


def test_damage_is_named(before: Path, after: Path) -> None:
    write_jsonl(after / "margin.jsonl", [{"set": "privacy", "id": "0"}])
    with pytest.raises(FileFormatError, match=r"margin\.jsonl is not what .*results\.json was"):
        compare(before, after)
    Results.load(after).save(after)
    with pytest.raises(FileFormatError, match=r"margin\.jsonl, row 1"):
        compare(before, after)
    (after / "margin.jsonl").unlink()
    with pytest.raises(FileFormatError, match=r"margin\.jsonl does not exist"):
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
    assert margin.effect == pytest.approx(
        statistics.cohens_dz([0.1, -0.2, 0.3] * 2, [0.3, 0.1, 0.4] * 2)
    )
    assert margin.prompts_needed is None
    unchanged = comparison.row("empty/privacy")
    assert (unchanged.effect, unchanged.prompts_needed) == (0.0, None)


def test_holm_is_taken_family_by_family(comparison: Comparison) -> None:
    main = ("awareness", "over_refusal", "over_caution", "margin", "perplexity", "capability")
    rows = [row for row in comparison.rows if row.before.group in main and row.p is not None]
    assert len(rows) >= 5
    assert [row.p_holm for row in rows] == list(statistics.holm([row.p or 0 for row in rows]))
    kinds = [row for row in comparison.rows if row.before.group == "reply_kinds"]
    assert [row.p_holm for row in kinds] == list(statistics.holm([row.p or 0 for row in kinds]))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_too_few_items_are_called_that(tmp_path: Path, n: int) -> None:
    """A clear change of so few is no evidence: no interval, no p, no effect, nowhere."""
    old = write(tmp_path / "a", "u" * n, margins=[0.1] * n, nll=[20.0] * n)
    new = write(tmp_path / "b", "a" * n, margins=[9.1] * n, nll=[90.0] * n)
    found = compare(old, new)
    for name in ("awareness/privacy/fake", "margin/privacy", "perplexity/general"):
        row = found.row(name)
        assert row.difference
        assert (row.test, row.n_pairs) == ("too few to tell", n)
        assert (row.low, row.high, row.p, row.p_holm) == (None,) * 4
        assert (row.effect, row.prompts_needed, row.reading) == (None, None, "too few to tell")
        for metric in (row.before, row.after):
            assert metric.too_few
            assert (metric.low, metric.high) == (None, None)
    written = json.loads((old / "results.json").read_text())["metrics"]
    assert {each["too_few"] for each in written if each["total"] == n} == {True}


def test_other_prompts_of_the_same_ids_are_not_paired(before: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "c", "a" * N, margins=[0.1] * 6, nll=[1.0] * 6)
    rows = (other / "replies.jsonl").read_text().replace("Prompt 1?", "Another 1?")
    (other / "replies.jsonl").write_text(rows)
    Results.load(other).save(other)
    found = compare(before, other)
    assert found.row("refused/privacy/refusal").n_pairs == N - 1
    assert any(
        "reply kinds, refused · privacy · refusal: 2 items are in one evaluation only" in n
        for n in found.notes
    )


def test_rows_that_are_there_twice_are_refused(before: Path, tmp_path: Path) -> None:
    for name in ("margin.jsonl", "replies.jsonl"):
        other = write(tmp_path / name, "a" * N, margins=[0.1] * 6, nll=[1.0] * 6)
        lines = (other / name).read_text().splitlines()
        (other / name).write_text("\n".join([*lines, lines[1], ""]))
        Results.load(other).save(other)
        with pytest.raises(FileFormatError, match=rf"rows 2 and {len(lines) + 1} are both of"):
            compare(before, other)


def test_a_changed_reply_is_found(before: Path, after: Path) -> None:
    text = (after / "replies.jsonl").read_text()
    (after / "replies.jsonl").write_text(text.replace('"unaware"', '"aware"', 1))
    with pytest.raises(FileFormatError, match=r"replies\.jsonl is not what .* was made from"):
        compare(before, after)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_kept_and_named(tmp_path: Path, before: Path, value: float) -> None:
    new = write(tmp_path / "c", "a" * N, margins=[0.1] * 5 + [value], nll=[1.0] * 5 + [value])
    results = Results.load(new)
    for name in ("margin/privacy", "perplexity/general"):
        metric = results.metric(name)
        assert (metric.value, metric.low, metric.high, metric.total) == (None, None, None, 6)
        assert "not a finite number for 1 of 6: 5" in metric.note
    assert "NaN" not in (new / "margin.jsonl").read_text()
    assert len((new / "margin.jsonl").read_text().splitlines()) == 6
    comparison = compare(before, new)
    row = comparison.row("margin/privacy")
    assert (row.difference, row.p) == (None, None)
    assert any("margin, privacy · mean has no value after" in note for note in comparison.notes)


def test_a_perplexity_beyond_a_float_is_kept_and_named(tmp_path: Path, before: Path) -> None:
    new = write(tmp_path / "c", "a" * N, margins=[0.1] * 6, nll=[9000.0] * 6)
    metric = Results.load(new).metric("perplexity/general")
    assert (metric.value, metric.total) == (None, 6)
    assert "not a finite number" in metric.note
    assert compare(before, new).row("perplexity/general").difference is None


def test_two_kinds_of_a_measure_are_not_compared(tmp_path: Path) -> None:
    folders = []
    for name, kind in (("a", "correct"), ("b", "number")):
        items = [
            CapabilityItem.model_validate({"set": "t", "id": str(n), "kind": kind, "value": 0.0})
            for n in range(9)
        ]
        folders.append(write(tmp_path / name, "a" * N, margins=[0.1], nll=[1.0], capability=items))
    found = compare(*folders)
    assert found.row("capability/t").difference is None
    assert any("capability, t is a proportion before and a mean after" in n for n in found.notes)


@pytest.mark.filterwarnings("error")
def test_one_ruined_text_costs_the_interval_alone(tmp_path: Path, before: Path) -> None:
    """Its perplexity is beyond a float; that of all texts together is not."""
    new = write(tmp_path / "c", "a" * N, margins=[0.1] * 6, nll=[20.0] * 5 + [9000.0])
    metric = Results.load(new).metric("perplexity/general")
    assert metric.value is not None
    assert (metric.low, metric.high, metric.too_few) == (None, None, False)
    row = compare(before, new).row("perplexity/general")
    assert row.difference is not None
    assert (row.low, row.high, row.p) == (None, None, None)


def test_another_max_length_is_named(tmp_path: Path) -> None:
    for name, length in (("before", 64), ("after", 128)):
        write(tmp_path / name, "aaua", margins=[0.1, 0.2], nll=[3.0, 4.0], max_length=length)
    with pytest.raises(SettingsError, match="max_length is 64 before and 128 after"):
        compare(tmp_path / "before", tmp_path / "after")
