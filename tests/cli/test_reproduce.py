"""A run done again from its record: the same, or what is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import declutch
from declutch.errors import SettingsError
from declutch.files import read_json, write_json
from declutch.reproducing import compare_runs, recorded_settings
from tests.cli.conftest import write_data
from tests.cli.test_commands import call, run_arguments


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data that a test may change."""
    return write_data(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def finished(
    model_folder: Path, pairs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("first") / "out"
    assert call(*run_arguments(model_folder, pairs), "-o", folder, "-q") == 0
    return folder


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def record_of(folder: Path, change: dict[str, Any], to: Path) -> Path:
    """The record alone, with other facts in places."""
    record = read_json(folder / "run.json")
    for place, value in change.items():
        *parents, last = place.split("/")
        inner = record
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
    write_json(to / "run.json", record)
    return to


def test_the_same_again(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = tmp_path / "again"
    assert call("reproduce", finished, "-o", again, "-q") == 0
    assert "The same: all " in said(capsys)
    found = read_json(again / "reproduction.json")
    assert found["same"]
    assert not found["inputs"]
    assert not found["circumstances"]
    assert {one["same"] for one in found["artefacts"]} == {True}
    names = {one["name"] for one in found["artefacts"]}
    assert {"scores/shortlists.safetensors", "patch/patch.safetensors"} <= names
    assert {"model/model.safetensors", "after/replies.jsonl", "after/results.json"} <= names

    # The record is enough, and what else could be the reason is said all the same.
    change = {"circumstances/torch": "1.0", "circumstances/threads": "99"}
    alone = record_of(finished, change, tmp_path / "alone")
    compared = compare_runs(alone, again)
    assert compared.same
    assert any(
        text.startswith("torch is 1.0 in the record and ") for text in compared.circumstances
    )
    assert {one.name for one in compared.artefacts if one.same is None} >= {"scores/scores.json"}
    assert call("reproduce", alone, "-o", again, "-q") == 0  # goes on: all is there
    assert "Although: threads is 99 in the record" in said(capsys)


def test_other_data_are_found(
    finished: Path, pairs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = pairs["fairness"].read_text(encoding="utf-8")
    pairs["fairness"].write_text(text.replace("number", "numeral"), encoding="utf-8")
    assert call("reproduce", finished, "-o", tmp_path / "again", "-q") == 1
    pairs["fairness"].write_text(text, encoding="utf-8")
    shown = said(capsys)
    assert "Not the same: " in shown
    assert "dimensions.fairness.sha256 is " in shown
    assert "scores/shortlists.safetensors: other bytes" in shown
    found = read_json(tmp_path / "again" / "reproduction.json")
    [patch] = [one for one in found["artefacts"] if one["name"] == "patch/patch.safetensors"]
    assert "weights are in both, of" in patch["differences"][0]
    assert any(text.startswith("patch: patch is ") for text in found["inputs"])


def test_what_no_record_holds(finished: Path, tmp_path: Path) -> None:
    rows = record_of(finished, {"settings/couple/fairness": "memory"}, tmp_path / "rows")
    with pytest.raises(SettingsError, match="of fairness were rows in memory"):
        declutch.reproduce(rows, tmp_path / "out")
    search = record_of(finished, {"settings/locate/rule": "auto"}, tmp_path / "search")
    with pytest.raises(SettingsError, match="is a search"):
        declutch.reproduce(search, tmp_path / "out")
    with pytest.raises(SettingsError, match="another -o"):
        declutch.reproduce(finished, finished)
    assert not (tmp_path / "out").exists()


def test_settings_come_back_as_they_were(finished: Path) -> None:
    settings = recorded_settings(finished)
    assert settings.locate.ratio == 0.02
    assert settings.judging.suite == ("bundled",)
    recorded = read_json(finished / "run.json")["settings"]
    assert json.loads(json.dumps(settings.couple)) == recorded["couple"]


def test_what_was_not_made_is_not_the_same(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    record = read_json(copy / "run.json")
    del record["stages"]["after"]["files"]["replies.jsonl"]
    write_json(copy / "run.json", record)
    (copy / "after" / "replies.jsonl").unlink()
    [missing] = [one for one in compare_runs(finished, copy).artefacts if not one.same]
    assert missing.name == "after/replies.jsonl"
    assert missing.differences == ("it was not made",)
