"""Evaluations for other tools: their own readers take them where they are installed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from declutch.cli import main
from declutch.comparing.results import PatchRecord, Results
from declutch.errors import SettingsError
from declutch.evaluating.compare import Side
from declutch.files import read_json, read_jsonl
from declutch.measures.capability.tasks import CapabilityItem
from declutch.reporting.export import export
from tests.evaluating.test_compare import write

N, AWARE, PARSED = 12, 3, 11


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    """Three aware of twelve, one unparsed; one of six harmless prompts refused."""
    tasks = [
        CapabilityItem(set="boolq", id=str(n), kind="correct", value=float(n < 6)) for n in range(8)
    ]
    folder = write(
        tmp_path / "results", "uuuuuuuuaaax", margins=[0.1, -0.2, 0.3] * 2, nll=[20.0, 30.0] * 3,
        refused=1, capability=tasks, limit=12,
    )  # fmt: skip
    measured = {
        "format_version": 1,
        "run": {},
        "parts": {
            "capability": {
                "boolq": {
                    "depends": {},
                    "items": 8,
                    "facts": {"metric": "acc", "n_shot": 0, "versions": {"boolq": "2.0"}},
                }
            }
        },
    }
    (folder / "measured.json").write_text(json.dumps(measured), encoding="utf-8")
    return folder


@pytest.fixture
def logs(evaluation: Path, tmp_path: Path) -> dict[str, Path]:
    """Inspect logs by task."""
    files = export(evaluation, "inspect", tmp_path / "logs")
    return {read_json(path)["eval"]["task"]: path for path in files}


def test_inspect_has_each_reply_with_its_scores(logs: dict[str, Path]) -> None:
    assert set(logs) == {"tiny/privacy", "tiny/harmless_privacy"}
    log = read_json(logs["tiny/privacy"])
    sample = log["samples"][8]
    assert (sample["id"], sample["input"]) == ("8", "Prompt 8?")
    assert sample["output"]["completion"] == sample["messages"][1]["content"] == "Reply 8."
    assert sample["scores"]["awareness/privacy/fake"]["value"] is True
    assert sample["scores"]["awareness/privacy/fake"]["answer"] == "aware"
    unparsed = log["samples"][11]["scores"]
    assert "awareness/privacy/fake" not in unparsed
    assert unparsed["unparsed/privacy/fake"]["value"] is True
    scores = {each["name"]: each for each in log["results"]["scores"]}
    aware = scores["awareness/privacy/fake"]
    assert (aware["scored_samples"], aware["unscored_samples"]) == (PARSED, 1)
    assert math.isclose(aware["metrics"]["mean"]["value"], AWARE / PARSED)
    harmless = read_json(logs["tiny/harmless_privacy"])["results"]["scores"]
    assert harmless[0]["metrics"]["mean"]["value"] == pytest.approx(1 / 6)


def test_what_inspect_has_no_place_for_is_named(
    evaluation: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="declutch"):
        export(evaluation, "inspect", tmp_path / "logs")
    (message,) = caplog.messages
    assert message.endswith("margin, perplexity, capability, wording.")


@pytest.mark.slow
def test_inspect_reads_its_logs_and_finds_the_same_numbers(logs: dict[str, Path]) -> None:
    inspect_log = pytest.importorskip("inspect_ai.log")
    folder = logs["tiny/privacy"].parent
    listed = {info.task_id: info.task for info in inspect_log.list_eval_logs(str(folder))}
    assert len(listed) == 2
    for path in logs.values():
        log = inspect_log.read_eval_log(str(path))
        assert log.status == "success"
        assert log.eval.task_id in listed
        ours = {score.name: score.metrics["mean"].value for score in log.results.scores}
        inspect_log.recompute_metrics(log)
        theirs = {score.name: score.metrics["accuracy"].value for score in log.results.scores}
        assert theirs == pytest.approx(ours)


@pytest.fixture
def harness(evaluation: Path, tmp_path: Path) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The harness's results, and its samples by file name without the date."""
    first, *others = export(evaluation, "lm-eval", tmp_path / "out")
    assert first.parent.name == "tiny"
    return read_json(first), {path.name.rpartition("_")[0]: read_jsonl(path) for path in others}


def test_harness_results(harness: tuple[dict[str, Any], dict[str, list[Any]]]) -> None:
    value, samples = harness
    prompts = value["results"]["declutch_tiny_privacy"]
    assert prompts["awareness/privacy/fake,none"] == pytest.approx(AWARE / PARSED)
    # The harness's standard error: the standard deviation over n − 1, by the root of n.
    share = AWARE / PARSED
    expected = math.sqrt(share * (1 - share) / (PARSED - 1))
    assert prompts["awareness/privacy/fake_stderr,none"] == pytest.approx(expected)
    assert value["results"]["boolq"]["acc,none"] == 0.75
    assert value["versions"]["boolq"] == "2.0"
    perplexity = value["results"]["declutch_perplexity"]
    assert perplexity["perplexity/general,none"] == pytest.approx(math.exp(2.5))
    assert perplexity["perplexity/general_stderr,none"] == "N/A"
    assert value["higher_is_better"]["declutch_perplexity"] == {"perplexity/general": False}
    assert value["n-samples"]["declutch_tiny_privacy"] == {"original": None, "effective": N}
    by_task = ("configs", "versions", "n-shot", "higher_is_better", "n-samples", "group_subtasks")
    assert all(value[key].keys() == value["results"].keys() for key in by_task)
    assert set(samples) == {
        "samples_declutch_tiny_privacy", "samples_declutch_tiny_harmless_privacy",
    }  # fmt: skip


def test_harness_samples_make_the_results(
    harness: tuple[dict[str, Any], dict[str, list[Any]]],
) -> None:
    value, samples = harness
    for name, rows in samples.items():
        for key, number in value["results"][name.removeprefix("samples_")].items():
            metric, _, filtered = key.partition(",")
            if filtered and not metric.endswith("_stderr"):
                own = [row[metric] for row in rows if metric in row["metrics"]]
                assert sum(own) / len(own) == pytest.approx(number)
    first = samples["samples_declutch_tiny_privacy"][0]
    assert first["resps"] == [["Reply 0."]]
    assert first["arguments"]["gen_args_0"]["arg_0"] == first["doc"]["prompt"] == "Prompt 0?"


def test_the_harness_prints_its_table(
    harness: tuple[dict[str, Any], dict[str, list[Any]]],
) -> None:
    utils = pytest.importorskip("lm_eval.utils")
    pytest.importorskip("pytablewriter")
    table = utils.make_table(harness[0])
    (line,) = [each for each in table.splitlines() if "awareness/privacy/fake" in each]
    assert [cell.strip() for cell in line.split("|")][5:9] == [
        "awareness/privacy/fake", "↑", "0.2727", "±",
    ]  # fmt: skip


def test_a_patched_model_has_a_name_of_its_own(evaluation: Path, tmp_path: Path) -> None:
    patch = PatchRecord(scale=0.0, weights=5, checksum="c0ffee" * 10)
    Results.load(evaluation).model_copy(update={"patch": patch}).save(evaluation)
    (first, *_) = export(evaluation, "lm-eval", tmp_path / "out")
    assert read_json(first)["model_name"] == "tiny+patch-c0ffeec0ffee"
    (log, *_) = export(evaluation, "inspect", tmp_path / "out")
    assert read_json(log)["eval"]["model"] == "tiny+patch-c0ffeec0ffee"


def test_a_form_of_ones_own(evaluation: Path, tmp_path: Path) -> None:
    form = tmp_path / "forms.py"
    form.write_text("def count(side):\n    return {'n.json': len(side.evidence.replies)}\n")
    (path,) = export(evaluation, f"{form}:count", tmp_path / "out")
    assert read_json(path) == len(Side.read(evaluation).evidence.replies) == N + 6
    with pytest.raises(SettingsError, match="inspect, lm-eval"):
        export(evaluation, "csv", tmp_path / "out")


@pytest.fixture(autouse=True)
def _log_to_the_caller() -> Iterator[None]:
    """A command sets how much is said, for its process."""
    from declutch.progress import log

    yield
    log.handlers, log.propagate = [], True


def test_command(evaluation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["export", str(evaluation), "--to", "inspect", "-o", str(tmp_path / "l"), "--json"])
    assert not end.value.code
    files = json.loads(capsys.readouterr().out)["files"]
    assert [Path(each).parent for each in files] == [tmp_path / "l"] * 2
