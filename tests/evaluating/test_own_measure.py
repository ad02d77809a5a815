"""A measure of one's own, in a file: evaluated, compared, guarded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from declutch.cli import build_app
from declutch.cli.running import run_command
from declutch.comparing.results import Results
from declutch.errors import SettingsError
from declutch.evaluating.checking import check_guard_names, guard_results, prepare_guards
from declutch.evaluating.compare import compare
from declutch.evaluating.evaluate import evaluate, evaluate_engine
from declutch.evaluating.plan import make_plan
from declutch.replies.engine import Reply
from declutch.replies.transformers_engine import TransformersEngine
from declutch.reporting import loading
from declutch.settings import EvaluateSettings
from declutch.suites.base import PromptItem, PromptSet, Suite
from tests.cli.conftest import verbosity_of_one_command  # noqa: F401 (one command is called)

FILE = '''
from declutch.comparing.kinds import MEAN, PROPORTION
from declutch.comparing.results import MeasureFacts
from declutch.comparing.series import Series
from declutch.items import Item, item_id
from declutch.measures.base import Measure, Part


class Brevity(Measure):
    """Characters of each reply."""

    facts = MeasureFacts(
        name="brevity", title="Brevity", role="side effect", family="main",
        worse="replies to {of} prompts became longer", items="prompt",
    )

    def series(self, evidence):
        return [
            Series(
                f"brevity/{each.label}", MEAN,
                {row.pairing: float(len(row.shown)) for row in evidence.rows(each)},
                each.dimension, better="lower", note="characters",
            )
            for each in evidence.sets_of("awareness")
        ]


class VowelItem(Item):
    starts: bool


class Vowels(Measure):
    """Whether the model's weights are at hand, and a prompt starts with a vowel."""

    facts = MeasureFacts(name="vowels", title="Vowels")
    needs = "weights"
    item = VowelItem
    measured = 0

    def parts(self, subject):
        def run():
            assert subject.model is not None
            Vowels.measured += 1
            items = [
                VowelItem(
                    set="all", id=item_id(item.id, item.prompt), starts=item.prompt[0] in "AEIOU"
                )
                for each in subject.suite.prompt_sets for item in each.items
            ]
            return items, {"asked": len(items)}

        return [Part("all", run)]

    def series(self, evidence):
        values = {item.id: item.starts for item in evidence.of(self)}
        return [Series("vowels", PROPORTION, values)] if values else []


class Awareness(Brevity):
    facts = MeasureFacts(name="awareness", title="Another")


NOTHING = 3
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


@pytest.fixture
def own_suite() -> Suite:
    items = tuple(PromptItem(str(n), f"{'AW'[n % 2]}ho is {n}?") for n in range(8))
    return Suite("made", (PromptSet("privacy", "privacy", "awareness", items, "made"),))


@pytest.fixture
def folders(
    llama: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    own_suite: Suite,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Path, Path]:
    """Evaluated before and after, when every reply is twice as long."""
    for name, times in (("before", 1), ("after", 2)):

        def replies(
            _: TransformersEngine, prompts: Sequence[str], times: int = times
        ) -> Iterator[tuple[int, Reply]]:
            return (
                (number, Reply("abcd" * (1 + number % 3) * times, "stop"))
                for number in range(len(prompts))
            )

        monkeypatch.setattr(TransformersEngine, "replies", replies)
        measure = (f"{file}:Brevity", f"{file}:Vowels")
        evaluate(llama, tokenizer, own_suite, out=tmp_path / name, measure=measure)
    return tmp_path / "before", tmp_path / "after"


def test_its_metrics_are_in_the_results(folders: tuple[Path, Path]) -> None:
    results = Results.load(folders[0], items=True)
    metric = results.metric("brevity/privacy")
    lengths = [4 * (1 + n % 3) for n in range(8)]
    assert metric.value == pytest.approx(sum(lengths) / 8)
    assert (metric.group, metric.total, metric.better) == ("brevity", 8, "lower")
    assert metric.low is not None
    assert results.measures["brevity"].title == "Brevity"
    assert (results.metric("vowels").count, results.metric("vowels").total) == (4, 8)
    written = json.loads((folders[0] / "results.json").read_text())
    assert "brevity/privacy" in [each["name"] for each in written["metrics"]]
    assert written["measures"]["brevity"]["role"] == "side effect"
    rows = (folders[0] / "vowels.jsonl").read_text().splitlines()
    assert [json.loads(row)["starts"] for row in rows] == [True, False] * 4


def test_it_is_compared_where_it_is_named(folders: tuple[Path, Path], file: Path) -> None:
    named = compare(*folders, measures=(f"{file}:Brevity", f"{file}:Vowels"))
    row = named.row("brevity/privacy")
    assert row.difference == pytest.approx(sum(4 * (1 + n % 3) for n in range(8)) / 8)
    assert (row.n_pairs, row.reading) == (8, "worse")
    assert row.measure.worse.startswith("replies to")
    assert row.p_holm is not None
    assert named.row("vowels").reading == "no change"
    # A file that nobody names is not run: results may come from somebody else.
    alone = compare(*folders)
    assert {"brevity/privacy", "vowels"}.isdisjoint(row.name for row in alone.rows)
    for name in ("brevity", "vowels"):
        assert any(f"«{name}» is not installed here" in note for note in alone.notes)


def test_it_is_guarded(folders: tuple[Path, Path], file: Path) -> None:
    before, after = folders
    guards = prepare_guards(["brevity<=baseline", "brevity<=1000", "vowels<=baseline"], before)
    results, comparison = guard_results(
        Results.load(after), after, guards, before, measures=(f"{file}:Brevity", f"{file}:Vowels")
    )
    assert comparison is not None
    assert comparison.checks == results.guards == Results.load(after).guards
    assert [(each.metric, each.held) for each in results.guards] == [
        ("brevity/privacy", False), ("brevity/privacy", True), ("vowels", True),
    ]  # fmt: skip
    assert "the data speak against it" in results.guards[0].reason


def test_its_guards_are_known_before_anything_is_measured(own_suite: Suite, file: Path) -> None:
    settings = EvaluateSettings(measure=(f"{file}:Brevity",))
    plan = make_plan(settings, own_suite)
    check_guard_names(prepare_guards(["brevity/privacy<=9"]), plan)
    # Of one with items of its own nothing is known yet.
    both = make_plan(EvaluateSettings(measure=(f"{file}:Brevity", f"{file}:Vowels")), own_suite)
    check_guard_names(prepare_guards(["vowels<=0.9"]), both)
    with pytest.raises(SettingsError, match="no metric goes by «brevety»"):
        check_guard_names(prepare_guards(["brevety<=9"]), plan)
    with pytest.raises(SettingsError, match="no metric goes by «brevity»"):
        check_guard_names(prepare_guards(["brevity<=9"]), make_plan(EvaluateSettings(), own_suite))


def test_from_the_command_line(
    folders: tuple[Path, Path], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = folders
    asked = ["compare", str(before), str(after), "--measure", f"{file}:Brevity"]
    asked += ["--guard", "brevity<=baseline", "--json", "-q"]
    assert run_command(build_app(), asked) == 1
    found = json.loads(capsys.readouterr().out)
    assert "brevity/privacy" in [row["name"] for row in found["rows"]]
    assert [(each["metric"], each["held"]) for each in found["guards"]] == [
        ("brevity/privacy", False)
    ]


def test_the_report_compares_it_where_it_is_named(
    folders: tuple[Path, Path], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folders[0].parent
    monkeypatch.setattr(loading, "check_complete", lambda _: None)
    monkeypatch.setattr("declutch.patching.Patch.load", lambda _: None)
    monkeypatch.setattr("declutch.reporting.values.PatchSummary.of", lambda _: None)
    for measures, there in (((f"{file}:Brevity",), True), ((), False)):
        found = loading.load_input(out, measures=measures).comparison
        assert ("brevity/privacy" in [row.name for row in found.rows]) is there


def test_what_it_measured_is_used_again(
    folders: tuple[Path, Path],
    llama: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    own_suite: Suite,
    file: Path,
) -> None:
    from declutch.measures.base import find_measure

    kind: Any = type(find_measure(f"{file}:Vowels"))
    measured = kind.measured
    old = Results.load(folders[0])
    again = evaluate(
        llama, tokenizer, own_suite, out=folders[0], measure=(f"{file}:Vowels", f"{file}:Brevity")
    )
    assert kind.measured == measured
    assert again.metric("vowels") == old.metric("vowels")


def test_what_needs_the_weights_is_refused_of_a_server(own_suite: Suite, file: Path) -> None:
    class Engine:
        settings: dict[str, Any] = {}  # noqa: RUF012

        def replies(self, prompts: Sequence[str], draw: int = 0) -> Iterator[tuple[int, Reply]]:
            return ((n, Reply("No.", "stop")) for n in range(len(prompts)))

    with pytest.raises(SettingsError, match="Vowels: that needs the model's weights"):
        evaluate_engine(Engine(), own_suite, model="m", measure=(f"{file}:Vowels",))
    results = evaluate_engine(Engine(), own_suite, model="m", measure=(f"{file}:Brevity",))
    assert results.metric("brevity/privacy").value == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Awareness", "two measures called awareness"),
        ("NOTHING", "a function or class is needed"),
        ("Absent", "defines no «Absent»"),
    ],
)
def test_what_is_no_measure_of_its_own_is_refused(
    own_suite: Suite, file: Path, name: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        make_plan(EvaluateSettings(measure=(f"{file}:{name}",)), own_suite)
