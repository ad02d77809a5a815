"""What was measured is kept part by part: used again, measured anew, or refused."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from declutch.comparing.kinds import MEAN
from declutch.comparing.results import MeasureFacts
from declutch.comparing.series import Series
from declutch.errors import DataError, FileFormatError, SettingsError
from declutch.evaluating import keeping
from declutch.evaluating.evaluate import evaluate
from declutch.evaluating.keeping import Ledger, read_measured
from declutch.items import Item, Number, read_items
from declutch.measures.base import Evidence, Measure, Part
from declutch.measures.perplexity import PerplexityItem
from declutch.replies.engine import Reply
from declutch.replies.transformers_engine import TransformersEngine
from declutch.suites.base import Suite
from tests.tiny_evaluation import QUICK, FakeJudge

RUN = {"fingerprint": "f"}


class LengthItem(Item):
    """A length."""

    length: Number


class Length(Measure[LengthItem]):
    """Of three items in each part."""

    facts = MeasureFacts(name="length", title="Length")
    item = LengthItem

    def series(self, evidence: Evidence) -> list[Series]:
        return [Series("length", MEAN, {item.id: item.length for item in evidence.of(self)})]


class Parts:
    """Parts by name; says which were measured."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def __call__(self, *names: str, value: float = 1.0, **depends: Any) -> list[Part]:
        def part(name: str) -> Part:
            def run() -> tuple[list[LengthItem], Mapping[str, Any]]:
                self.ran.append(name)
                items = [LengthItem(set=name, id=str(n), length=value + n) for n in range(3)]
                return items, {"note": f"of {name}"}

            return Part(name, run, depends)

        return [part(name) for name in names]


@pytest.fixture
def parts() -> Parts:
    return Parts()


def measured(folder: Path | None, parts: Sequence[Part], **run: Any) -> Ledger:
    ledger = Ledger(folder, {**RUN, **run})
    ledger.measure(Length(), parts)
    return ledger


def killed(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def sets(items: Sequence[Item]) -> list[str]:
    return [item.set for item in items]


def on_disk(folder: Path) -> list[LengthItem]:
    return read_items(folder / "length.jsonl", LengthItem)


def test_what_is_whole_is_not_measured_again(tmp_path: Path, parts: Parts) -> None:
    first = measured(tmp_path, parts("one", "two", seed=1))
    again = measured(tmp_path, parts("one", "two", seed=1))
    assert parts.ran == ["one", "two"]
    assert again.items == first.items
    assert sets(first.items["length"]) == ["one"] * 3 + ["two"] * 3
    assert again.facts["length"]["two"]["note"] == "of two"
    assert again.facts == read_measured(tmp_path).facts


def test_parts_come_as_they_are_asked_for_and_others_stay(tmp_path: Path, parts: Parts) -> None:
    measured(tmp_path, parts("one", "two"))
    turned = measured(tmp_path, parts("two", "one"))
    assert sets(turned.items["length"]) == ["two"] * 3 + ["one"] * 3
    more = measured(tmp_path, parts("three"))
    assert sets(more.items["length"]) == ["three"] * 3
    assert parts.ran == ["one", "two", "three"]
    assert {*sets(on_disk(tmp_path))} == {"one", "two", "three"}


def test_a_part_that_a_kill_left_half_written_is_measured_anew(
    tmp_path: Path, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(tmp_path, parts("one"))
    with monkeypatch.context() as patched:
        # Its items are on disk, and nothing says yet that they are whole.
        patched.setattr(keeping, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            measured(tmp_path, parts("two"))
    assert sets(on_disk(tmp_path)) == ["one"] * 3 + ["two"] * 3
    again = measured(tmp_path, parts("one", "two", value=5.0))
    assert parts.ran == ["one", "two", "two"]
    assert [item.length for item in on_disk(tmp_path)] == [1, 2, 3, 5, 6, 7]
    assert again.items["length"] == on_disk(tmp_path)


def test_a_torn_tail_is_dropped(tmp_path: Path, parts: Parts) -> None:
    measured(tmp_path, parts("one"))
    path = tmp_path / "length.jsonl"
    with path.open("a") as file:
        file.write('{"set": "two", "id": "0", "len')
    again = measured(tmp_path, parts("one"))
    assert parts.ran == ["one"]
    # What reads the file afterwards takes no half line for one.
    assert on_disk(tmp_path) == again.items["length"]


def test_a_part_that_lost_items_is_measured_anew(tmp_path: Path, parts: Parts) -> None:
    measured(tmp_path, parts("one", "two"))
    path = tmp_path / "length.jsonl"
    path.write_text(path.read_text()[:-5])
    again = measured(tmp_path, parts("one", "two"))
    assert parts.ran == ["one", "two", "two"]
    assert len(again.items["length"]) == 6
    assert on_disk(tmp_path) == again.items["length"]


def test_another_setting_of_a_part_is_refused(tmp_path: Path, parts: Parts) -> None:
    measured(tmp_path, parts("one", limit=3))
    before = (tmp_path / "length.jsonl").read_bytes()
    with pytest.raises(SettingsError, match="length of one with other settings") as found:
        measured(tmp_path, parts("one", limit=4, seed=1))
    assert "limit is 3 there and 4 now; seed is absent there and 1 now" in str(found.value)
    assert (tmp_path / "length.jsonl").read_bytes() == before
    # A part of its own may depend on what it likes; and what the message advises helps.
    measured(tmp_path, parts("two", limit=4))
    (tmp_path / "measured.json").unlink()
    assert len(measured(tmp_path, parts("one", limit=4)).items["length"]) == 3
    assert parts.ran == ["one", "two", "one"]


def test_another_run_is_refused(tmp_path: Path, parts: Parts) -> None:
    measured(tmp_path, parts("one"))
    with pytest.raises(SettingsError, match="fingerprint is f there and g now"):
        measured(tmp_path, parts("one"), fingerprint="g")
    assert parts.ran == ["one"]


def test_items_of_unknown_origin_are_not_used(tmp_path: Path, parts: Parts) -> None:
    (tmp_path / "length.jsonl").write_text('{"set": "one", "id": "9", "length": 9}\n')
    assert len(measured(tmp_path, parts("one")).items["length"]) == 3
    assert [item.id for item in on_disk(tmp_path)] == ["0", "1", "2"]


@pytest.mark.parametrize(
    "row",
    [
        {"set": "one", "id": "0", "nll": 3.0, "tokens": 4},
        {"set": "one", "id": "0", "length": 1.0, "tokens": 4},
        {"set": "one", "id": "0", "length": "long"},
        {"id": "0", "length": 1.0},
        3,
    ],
)
def test_items_of_another_measure_are_refused(tmp_path: Path, parts: Parts, row: Any) -> None:
    measured(tmp_path, parts("one"))
    (tmp_path / "length.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(FileFormatError, match=r"length\.jsonl, row 1: not what declutch writes"):
        measured(tmp_path, parts("one"))


def test_an_item_that_is_there_twice_is_refused(tmp_path: Path, parts: Parts) -> None:
    measured(tmp_path, parts("one"))
    path = tmp_path / "length.jsonl"
    path.write_text(path.read_text() + path.read_text())
    with pytest.raises(FileFormatError, match="rows 1 and 4 are both of the item one/0"):
        measured(tmp_path, parts("one"))


@pytest.mark.parametrize("text", ["[]", '{"format_version": 9, "run": {}}', '{"run": 3}', "{"])
def test_a_damaged_record_is_refused(tmp_path: Path, parts: Parts, text: str) -> None:
    measured(tmp_path, parts("one"))
    (tmp_path / "measured.json").write_text(text)
    with pytest.raises(FileFormatError, match=r"measured\.json"):
        measured(tmp_path, parts("one"))


def test_a_part_without_items_is_an_error_and_not_kept(tmp_path: Path) -> None:
    nothing = Part("one", lambda: ([], {}))
    with pytest.raises(DataError, match="Length: one has no items to measure"):
        measured(tmp_path, [nothing])
    assert read_measured(tmp_path).parts == {}


def test_numbers_that_json_does_not_have_come_back(tmp_path: Path, parts: Parts) -> None:
    measured(tmp_path, parts("one", value=math.nan))
    assert "NaN" not in (tmp_path / "length.jsonl").read_text()
    again = measured(tmp_path, parts("one"))
    assert all(math.isnan(item.length) for item in on_disk(tmp_path))
    assert len(again.items["length"]) == 3
    assert parts.ran == ["one"]


def test_in_memory_alone(parts: Parts) -> None:
    ledger = measured(None, parts("one", "two"))
    assert len(ledger.items["length"]) == 6
    assert ledger.facts["length"]["one"]["note"] == "of one"


def test_goes_on_where_it_was_interrupted(
    llama: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    suite: Suite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = evaluate(llama, tokenizer, suite, **QUICK)
    original = TransformersEngine.replies
    asked: list[int] = []

    def interrupted(
        self: TransformersEngine, prompts: Sequence[str]
    ) -> Iterator[tuple[int, Reply]]:
        asked.append(len(prompts))
        for number, found in enumerate(original(self, prompts)):
            if len(asked) == 1 and number == 5:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(TransformersEngine, "replies", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(llama, tokenizer, suite, out=tmp_path, **QUICK)
    assert not (tmp_path / "results.json").exists()
    again = evaluate(llama, tokenizer, suite, out=tmp_path, **QUICK)
    assert asked == [9, 4]
    assert again.metrics == whole.metrics
    # A third time nothing is computed, and another judge may be added.
    monkeypatch.setattr("declutch.models.forward.response_logprobs", None)
    judge = FakeJudge()
    more = evaluate(llama, tokenizer, suite, out=tmp_path, judges=["heuristic", judge], **QUICK)
    assert asked == [9, 4]
    assert judge.asked == 7
    assert set(again.metrics) < set(more.metrics)


def test_another_model_or_setting_in_the_same_folder_is_refused(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite, tmp_path: Path
) -> None:
    evaluate(llama, tokenizer, suite, out=tmp_path, **QUICK)
    with pytest.raises(SettingsError, match="max_new_tokens is 4 there and 5 now"):
        evaluate(llama, tokenizer, suite, out=tmp_path, max_new_tokens=5)
    with pytest.raises(SettingsError, match="suite_sha256"):
        evaluate(llama, tokenizer, suite, out=tmp_path, limit=1, **QUICK)
    other = copy.deepcopy(llama)
    with torch.no_grad():
        next(other.parameters())[0, 0] += 1
    with pytest.raises(SettingsError, match="fingerprint"):
        evaluate(other, tokenizer, suite, out=tmp_path, **QUICK)


def test_only_the_part_that_was_under_way_is_measured_again(
    llama: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    suite: Suite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = evaluate(llama, tokenizer, suite, **QUICK)
    with monkeypatch.context() as patched:
        patched.setattr("declutch.measures.perplexity.passage_nll", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate(llama, tokenizer, suite, out=tmp_path, **QUICK)
    assert set(read_measured(tmp_path).parts["margin"]) == {"fairness", "privacy"}
    with monkeypatch.context() as patched:
        patched.setattr("declutch.measures.margin.margins", None)
        again = evaluate(llama, tokenizer, suite, out=tmp_path, **QUICK)
    assert again.metrics == whole.metrics
    assert len(read_items(tmp_path / "perplexity.jsonl", PerplexityItem)) == 3
