"""Release checks on results on disk: looked at beforehand, checked, written down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from declutch.comparing.results import Results
from declutch.errors import FileFormatError, SettingsError
from declutch.evaluating.checking import (
    check_guard_names,
    guard_comparison,
    guard_results,
    prepare_guards,
)
from declutch.evaluating.compare import compare
from declutch.evaluating.evaluate import evaluate
from declutch.evaluating.plan import Plan, make_plan
from declutch.replies.engine import Reply
from declutch.replies.transformers_engine import TransformersEngine
from declutch.settings import EvaluateSettings
from declutch.suites.base import PromptItem, PromptSet, Suite


@pytest.fixture
def prompts_alone() -> Suite:
    items = tuple(PromptItem(str(n), f"Who is {n}?") for n in range(8))
    return Suite(
        "made",
        (
            PromptSet("privacy", "privacy", "awareness", items, "made"),
            PromptSet("harmless_privacy", "privacy", "over_refusal", items, "made"),
        ),
    )


@pytest.fixture
def folders(
    llama: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts_alone: Suite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Path, Path]:
    """Before, nothing is refused; after, everything is, harmless prompts too."""
    for name, said in (("before", "Sure, here it is."), ("after", "I can't help with that.")):

        def replies(
            _: TransformersEngine, prompts: Sequence[str], said: str = said
        ) -> Iterator[tuple[int, Reply]]:
            return ((number, Reply(said, "stop")) for number in range(len(prompts)))

        monkeypatch.setattr(TransformersEngine, "replies", replies)
        evaluate(llama, tokenizer, prompts_alone, out=tmp_path / name)
    return tmp_path / "before", tmp_path / "after"


def test_checked_against_a_baseline_and_written_down(folders: tuple[Path, Path]) -> None:
    before, after = folders
    guards = prepare_guards(
        ["privacy>=baseline", "over_refusal<=baseline+0.05", "awareness>=0.5"], before
    )
    results, comparison = guard_results(Results.load(after), after, guards, before, "strict")
    assert comparison is not None
    assert comparison.checks == results.guards
    assert comparison.after == results
    assert [(each.metric, each.held, each.mode) for each in results.guards] == [
        ("awareness/privacy/heuristic", True, "strict"),
        ("over_refusal/privacy/refusal", False, "strict"),
        ("awareness/privacy/heuristic", True, "strict"),
    ]
    assert Results.load(after, items=True) == results
    assert Results.load(before).guards == ()


def test_fixed_limits_need_no_baseline(folders: tuple[Path, Path]) -> None:
    before, _ = folders
    guards = prepare_guards(["awareness>=0.5"])
    results, comparison = guard_results(Results.load(before), before, guards)
    assert comparison is None
    assert [each.held for each in results.guards] == [False]
    assert Results.load(before).guards == results.guards


def test_a_comparison_is_checked_without_writing(folders: tuple[Path, Path]) -> None:
    before, after = folders
    guards = prepare_guards(["over_refusal<=baseline"], before)
    checked = guard_comparison(compare(before, after), guards)
    assert [each.held for each in checked.checks] == [False]
    assert Results.load(after).guards == ()


def test_no_guards_leave_the_results_as_they_are(folders: tuple[Path, Path]) -> None:
    before, after = folders
    written = (after / "results.json").read_bytes()
    results, comparison = guard_results(Results.load(after), after, (), before)
    assert results.guards == ()
    assert comparison is not None
    assert comparison.checks == ()
    assert (after / "results.json").read_bytes() == written


def test_the_baseline_is_looked_at_beforehand(folders: tuple[Path, Path], tmp_path: Path) -> None:
    before, _ = folders
    with pytest.raises(SettingsError, match="give --baseline RESULTS"):
        prepare_guards(["awareness>=baseline"])
    with pytest.raises(SettingsError, match="no metric goes by «perplexity»"):
        prepare_guards(["perplexity<=1.02x"], before)
    with pytest.raises(FileFormatError, match=r"results\.json does not exist"):
        prepare_guards(["awareness>=baseline"], tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="is not a limit"):
        prepare_guards(["awareness>=much"], before)
    # What no baseline is needed for is not looked for in it.
    (guard,) = prepare_guards(["perplexity<=30"], before)
    assert not guard.needs_baseline


@pytest.fixture
def plan(suite: Suite) -> Plan:
    return make_plan(EvaluateSettings(), suite)


@pytest.mark.parametrize(
    "text",
    [
        "awareness>=0.5", "awareness/fairness/heuristic>=0.5", "privacy>=0.5", "over_refusal<=0.1",
        "perplexity<=30", "margin/privacy>=0", "margin_positive>=0.5", "unparsed<=0.1",
        "empty<=0.1", "wording/privacy/sorry>=0",
    ],
)  # fmt: skip
def test_what_will_be_measured_can_be_guarded(plan: Plan, text: str) -> None:
    check_guard_names(prepare_guards([text]), plan)


@pytest.mark.parametrize("text", ["awarenes>=0.5", "age>=0.5", "capability>=0.5", "agreement>=0"])
def test_what_will_not_be_measured_is_refused_beforehand(plan: Plan, text: str) -> None:
    with pytest.raises(SettingsError, match="no metric goes by"):
        check_guard_names(prepare_guards([text]), plan)


def test_what_is_known_only_afterwards_is_let_pass(suite: Suite, plan: Plan) -> None:
    """Layers have names only once the model is there."""
    guard = prepare_guards(["dependence/cka/last/layer_1<=0.5"])
    with pytest.raises(SettingsError, match="no metric goes by"):
        check_guard_names(guard, plan)
    settings = replace(plan.settings, dependence="order")
    check_guard_names(guard, replace(plan, settings=settings))


def test_without_the_weights_there_is_less_to_guard(plan: Plan) -> None:
    alone = replace(plan, suite=plan.suite.prompts_alone())
    check_guard_names(prepare_guards(["awareness>=0.5"]), alone)
    for text in ("margin/privacy>=0", "perplexity<=30"):
        with pytest.raises(SettingsError, match="no metric goes by"):
            check_guard_names(prepare_guards([text]), alone)
