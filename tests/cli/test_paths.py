"""Paths of the user's: a home folder and a slash at the end, wherever they are written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from declutch.patching import Patch
from tests.cli.test_commands import call


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").symlink_to(model_folder)
    return tmp_path


def test_a_home_folder_on_the_command_line_and_in_a_file(
    home: Path, data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, path in data.items():
        (home / f"{name}.jsonl").write_bytes(path.read_bytes())
    (home / "options.yaml").write_text(
        "output: ~/scores\nnum-samples: 6\nshortlist: 0.1\nquiet: true\n"
        f"data: [{', '.join(f'{name}=~/{name}.jsonl' for name in data)}]\n"
    )
    assert call("score", "~/model/", "--config=~/options.yaml", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"]["id"] == str(home / "model")
    locate = ["locate", "~/scores", "--couple", "fairness", "--couple", "privacy", "--ratio", 0.02]
    assert call(*locate, "--output=~/patch/", "-q") == 0
    assert call("apply", "~/model", "~/patch", "-o", "~/patched", "-q") == 0
    assert call("revert", "~/patched/", "~/patch", "-o", "~/again", "-q") == 0
    (home / "options.yaml").write_text("output: ~/results\npatch: ~/patch\nlimit: 1\nquiet: true\n")
    assert call("evaluate", "~/model", "--config", "~/options.yaml") == 0
    assert call("compare", "~/results", "~/results", "-q") == 0
    names = {path.name for path in home.iterdir() if not path.name.startswith(".")}
    assert {"scores", "patch", "patched", "again", "results"} <= names
    assert not Path("~").exists()


def test_another_patch_is_not_written_over_unasked(
    home: Path, data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [part for name, path in data.items() for part in ("--data", f"{name}={path}")]
    options = ["--num-samples", 6, "--shortlist", 0.1, "-q", "-o", home / "scores"]
    assert call("score", home / "model", *sources, *options) == 0
    locate = ["locate", home / "scores", "--couple", "fairness", "--couple", "privacy", "-q"]
    locate += ["-o", home / "patch", "--ratio"]
    assert call(*locate, 0.02) == 0
    first = Patch.load(home / "patch").info.checksum
    assert call(*locate, 0.02) == 0  # the same patch
    assert call(*locate, 0.03) == 2
    assert "holds another patch" in " ".join(capsys.readouterr().err.split())
    assert Patch.load(home / "patch").info.checksum == first
    assert call(*locate, 0.03, "--overwrite") == 0
    assert Patch.load(home / "patch").info.checksum != first
    (home / "patch" / "patch.json").unlink()  # the original values alone are worth keeping
    assert call(*locate, 0.02) == 2
    assert (home / "patch" / "patch.safetensors").exists()


def test_a_judge_is_not_fitted_over_what_is_there(
    data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    sources = ["--aware", f"a={data['fairness']}", "--unaware", f"a={data['privacy']}"]
    assert call("judge", "fit", *sources, "-o", tmp_path, "-q") == 2
    assert "exists and is not empty" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "wrong",
    [
        ["--judge", "nobody"], ["--suite", "nowhere"], ["--batch-size", 0], ["--limit", 0],
        ["--max-new-tokens", 0], ["--capability", "nowhere.yaml"], ["--guard", "perplexity"],
        ["--capability", "wikitext=nowhere.txt"], ["--guard", "perplexity<=1.02x"],
        ["--guard", "perplexty<=20"], ["--guard", "awareness/fairness/nobody>=0.5"],
    ],
)  # fmt: skip
def test_what_is_asked_of_an_evaluation_is_checked_before_the_model_is_loaded(
    wrong: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else the error would be about the model, which is not there."""
    assert call("evaluate", tmp_path / "no" / "model", *wrong, "-o", tmp_path / "out", "-q") == 2
    assert "no such folder" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name",
    [
        "perplexity", "fairness", "awareness/privacy", "over_refusal", "margin/fairness",
        "capability/wikitext", "margin_positive", "wording/fairness/sorry", "agreement", "cut",
    ],
)  # fmt: skip
def test_a_guard_on_what_is_measured_is_let_through(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("a")
    options = ["--capability", f"wikitext={tmp_path / 'text'}", "--guard", f"{name}<=0.5"]
    options += ["--judge", "heuristic", "--judge", "heuristic:name=again"]  # one agrees with nobody
    assert call("evaluate", tmp_path / "no" / "model", *options, "-o", tmp_path / "out", "-q") == 2
    assert "no such folder" in " ".join(capsys.readouterr().err.split())
