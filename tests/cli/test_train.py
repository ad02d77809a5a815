"""``train`` as a whole command, and ``evaluate`` with what it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from declutch.models.loading import load_model
from tests.cli.test_evidence import QUICK, call
from tests.patching.builders import make_patch


def test_train_evaluate_compare(
    model_folder: Path, data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_patch(load_model(model_folder).model).save(tmp_path / "patch")
    command: list[str | Path] = [
        "train", model_folder, "--data", f"fairness={data['fairness']}", "--num-samples", "8",
        "--learning-rate", "0.01", "--steps", "3", "-o", tmp_path / "out",
        "--protect", tmp_path / "patch", "-q",
    ]  # fmt: skip
    assert call(*command) == 0
    said = capsys.readouterr().out
    assert "numbers trained" in said
    assert "protected weights are at their values, bit for bit" in said
    assert f"declutch evaluate MODEL --adapter {tmp_path / 'out'}" in said
    assert (tmp_path / "out" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert call(*command, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert [one["step"] for one in record["steps"]] == [1, 2, 3]
    assert call(*command, "--rank", "3") == 2
    assert "rank was 8 and is now 3" in " ".join(capsys.readouterr().err.split())

    adapter: list[str | Path] = ["--adapter", tmp_path / "out"]
    for name, more in (("before", []), ("after", adapter)):
        assert call("evaluate", model_folder, "-o", tmp_path / name, *QUICK, *more) == 0
    assert call("compare", tmp_path / "before", tmp_path / "after", "--json", "-q") == 0
    stored = json.loads((tmp_path / "after" / "results.json").read_text())
    assert stored["model"]["id"].endswith("+ out")
    server = ["--engine", "server", "--url", "http://localhost:1/v1", "--adapter", "x"]
    assert call("evaluate", "name", "-o", tmp_path / "no", *server) == 2
    assert "Write the merged checkpoint" in " ".join(capsys.readouterr().err.split())
