"""The whole evaluation of a tiny model."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from declutch.comparing.results import PatchRecord, Results
from declutch.data.encoding import Encoder
from declutch.data.example import Example
from declutch.errors import ModelError, SettingsError
from declutch.evaluating.evaluate import evaluate
from declutch.judges import JudgeItem, Verdict
from declutch.judges.asking import judge_replies
from declutch.measures.dependence.representations import representations
from declutch.models.identity import MatrixInfo, describe
from declutch.patching import Patch, PatchInfo
from declutch.replies.collecting import collect_replies
from declutch.replies.engine import Reply
from declutch.replies.store import ReplyStore
from declutch.replies.transformers_engine import TransformersEngine
from declutch.suites.base import Suite
from tests.odd_models import build_odd
from tests.tiny_evaluation import QUICK, FakeJudge


def test_metrics_and_files(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite, tmp_path: Path
) -> None:
    results = evaluate(
        llama, tokenizer, suite, judges=["heuristic", FakeJudge()], out=tmp_path, **QUICK
    )
    fake = results.metric("awareness/privacy/fake")
    assert (fake.count, fake.total) == (2, 2)
    assert fake.note.endswith("1 unparsed of 3 left out")
    assert results.metric("unparsed/privacy/fake").count == 1
    assert results.metric("awareness/fairness/fake").count == 0
    assert results.metric("over_refusal/fairness/refusal").total == 2
    assert results.metric("cut/harmless_fairness").total == 2
    assert {metric.name for metric in results.metrics} >= {
        "awareness/fairness/heuristic",
        "refused/fairness/refusal",
        "empty/privacy",
        "repeated/privacy",
        "margin/fairness",
        "margin_positive/privacy",
        "perplexity/general",
    }
    names = [metric.name for metric in results.metrics]
    assert len(set(names)) == len(names)
    assert Results.load(tmp_path) == results
    rows = [json.loads(line) for line in (tmp_path / "replies.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [i.id for s in suite.prompt_sets for i in s.items]
    assert set(rows[0]["verdicts"]) == {"heuristic", "fake", "refusal"}
    assert set(rows[-1]["verdicts"]) == {"refusal"}
    for name, count in (("margin.jsonl", 4), ("perplexity.jsonl", 3)):
        assert len((tmp_path / name).read_text().splitlines()) == count


def test_same_numbers_without_a_folder_and_in_other_batches(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite, tmp_path: Path
) -> None:
    first = evaluate(llama, tokenizer, suite, out=tmp_path, max_new_tokens=4, batch_size=1)
    second = evaluate(llama, tokenizer, suite, max_new_tokens=4, batch_size=9)
    assert first.metrics == second.metrics
    assert first.model == second.model


def test_patch_record_and_fingerprint_are_written_down(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite
) -> None:
    record = PatchRecord(rule="coupled", ratio=1e-5, scale=0.0, weights=3, checksum="c")
    results = evaluate(
        llama, tokenizer, suite.limited(1), patch=record, fingerprint="known", **QUICK
    )
    assert results.patch == record
    assert results.model.fingerprint == "known"
    assert results.model.dtype == "float32"


def test_reasoning_is_kept_and_not_judged(suite: Suite) -> None:
    class Thinker:
        settings: Mapping[str, Any] = {}

        def replies(self, prompts: Sequence[str], draw: int = 0) -> Iterator[tuple[int, Reply]]:
            for index in range(len(prompts)):
                yield index, Reply("<think>I can't refuse.</think>Sure, here it is.", "stop")

    class Watcher(FakeJudge):
        def judge(self, items: Sequence[JudgeItem]) -> list[Verdict]:
            assert {item.reply for item in items} == {"Sure, here it is."}
            return super().judge(items)

    store = ReplyStore(None, {})
    collect_replies(Thinker(), suite, store)
    judge = Watcher()
    judge_replies(judge, suite, store)
    assert judge.asked == 7
    assert all("<think>" in row.reply for row in store)


def test_a_judge_named_twice(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite
) -> None:
    with pytest.raises(SettingsError, match="twice"):
        evaluate(llama, tokenizer, suite, judges=["heuristic", "heuristic"])


def a_patch(model: PreTrainedModel) -> Patch:
    """A patch of 40 weights of one matrix, made by hand."""
    name = "model.layers.0.mlp.down_proj"
    weight = model.get_submodule(name).weight
    assert isinstance(weight, torch.Tensor)
    chosen = weight.detach().abs().flatten().topk(40).indices
    indices = chosen.sort().values
    shape = (weight.shape[0], weight.shape[1])
    info = PatchInfo(
        model=describe(model),
        rule="coupled",
        ratio=1e-2,
        coupled=("fairness", "privacy"),
        target_modules="mlp",
        matrices={name: MatrixInfo(shape=shape, layer=0, kind="mlp")},
    )
    original = weight.detach().flatten()[indices].clone()
    return Patch(info, {name: indices}, {name: original})._sealed()


def test_a_patch_is_applied_for_the_time(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite, tmp_path: Path
) -> None:
    patch = a_patch(llama)
    plain = evaluate(llama, tokenizer, suite, **QUICK)
    patched = evaluate(llama, tokenizer, suite, patch=patch, **QUICK)
    assert patch.verify(llama) == "original"
    assert patched.patch is not None
    assert (patched.patch.weights, patched.patch.rule) == (40, "coupled")
    assert patched.model == plain.model
    assert patched.metrics != plain.metrics
    with patch.applied(llama):
        carried = evaluate(llama, tokenizer, suite, patch=patch, **QUICK)
        assert patch.verify(llama) == "patched"
    assert carried.metrics == patched.metrics
    assert carried.model == patched.model
    patch.save(tmp_path)
    from_disk = evaluate(llama, tokenizer, suite, patch=tmp_path, **QUICK)
    assert from_disk.metrics == patched.metrics
    assert from_disk.patch is not None
    assert from_disk.patch.path == str(tmp_path)


def test_a_pair_too_long_is_left_out_before_the_replies(
    llama: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    suite: Suite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    long = Example("Who lives there? " * 60, "I won't.", "too-long", "Sure.")
    pairs = {**suite.pairs, "privacy": (long, *suite.pairs["privacy"])}
    asked: list[str] = []

    def replies(_: TransformersEngine, prompts: Sequence[str]) -> Iterator[tuple[int, Reply]]:
        asked.append(caplog.text)
        return ((number, Reply("No.", "stop")) for number in range(len(prompts)))

    monkeypatch.setattr(TransformersEngine, "replies", replies)
    options = {**QUICK, "out": tmp_path, "max_length": 120}
    results = evaluate(llama, tokenizer, replace(suite, pairs=pairs), **options)
    (before,) = asked
    assert "margin/privacy: 1 of 3 pairs are left out: too-long" in before
    assert results.metric("margin/privacy").total == 2
    assert any("too-long" in note for note in results.settings["notes"])
    again = evaluate(llama, tokenizer, replace(suite, pairs=pairs), **options)
    assert again.metrics == results.metrics


def test_a_model_that_gives_no_numbers_keeps_its_evaluation(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite, tmp_path: Path
) -> None:
    broken = copy.deepcopy(llama)
    ids = [{*tokenizer(passage.text)["input_ids"]} for passage in suite.passages]
    (only,) = sorted(ids[2] - ids[0] - ids[1])[:1]
    with torch.no_grad():
        broken.model.embed_tokens.weight[only] = math.nan
    results = evaluate(broken, tokenizer, suite, out=tmp_path, capability=[], **QUICK)
    metric = results.metric("perplexity/general")
    assert (metric.value, metric.total) == (None, 3)
    assert "not a finite number for 1 of 3: p2-" in metric.note
    assert Results.load(tmp_path, items=True) == results
    assert len((tmp_path / "replies.jsonl").read_text().splitlines()) == 9
    again = evaluate(broken, tokenizer, suite, out=tmp_path, **QUICK)
    assert again.metrics == results.metrics


def test_a_model_in_training_is_measured_without_dropout(
    gpt2: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite
) -> None:
    expected = evaluate(gpt2, tokenizer, suite, **QUICK)
    training = copy.deepcopy(gpt2).train()
    training.get_submodule("transformer.h.0").eval()
    modes = [module.training for module in training.modules()]
    assert evaluate(training, tokenizer, suite, **QUICK).metrics == expected.metrics
    read = [representations(one, Encoder(tokenizer), ["Who?"]) for one in (gpt2, training)]
    assert (read[0].layers["mean"] == read[1].layers["mean"]).all()
    assert [module.training for module in training.modules()] == modes


def test_a_model_that_sees_ahead_is_refused_before_the_replies(
    tokenizer: PreTrainedTokenizerFast, suite: Suite, tmp_path: Path
) -> None:
    model = build_odd("bert", vocab_size=len(tokenizer), pad_token_id=2)
    with pytest.raises(ModelError, match="no causal language model"):
        evaluate(model, tokenizer, suite, out=tmp_path, **QUICK)
    assert not (tmp_path / "replies.jsonl").exists()
