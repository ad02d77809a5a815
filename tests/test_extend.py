"""The worked examples of docs/extend.md: a package that is installed and used from the shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from declutch.data.bundled import load_bundled
from tests.conftest import build_model, build_tokenizer

PLUGIN = Path(__file__).parents[1] / "examples" / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the package."""
    target = tmp_path_factory.mktemp("site")
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
            "--no-build-isolation", "--target", str(target), str(PLUGIN),
        ],
        check=True,
    )  # fmt: skip
    return target


@pytest.fixture
def model(tmp_path: Path) -> Path:
    build_model("llama", max_position_embeddings=1024).save_pretrained(tmp_path / "model")
    build_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def declutch(site: Path, *arguments: str | Path) -> dict[str, object]:
    """What a command prints as JSON."""
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    found = subprocess.run(
        [sys.executable, "-m", "declutch", *map(str, arguments), "--json", "-q"],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    value: dict[str, object] = json.loads(found.stdout)
    return value


def test_each_example_from_the_command_line(installed: Path, model: Path, tmp_path: Path) -> None:
    data = []
    for name in ("fairness", "privacy", "general"):
        rows = [{"prompt": e.prompt[:40], "response": e.response[:60]} for e in load_bundled(name)]
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(rows[:4]))
        data += ["--data", f"{name}={file}"]
    scores, patch, results = (tmp_path / name for name in ("scores", "patch", "results"))
    declutch(
        installed, "score", model, *data, "--num-samples", "4", "--shortlist", "0.5",
        "--method", "magnitude", "-o", scores,
    )  # fmt: skip
    found = declutch(
        installed, "locate", scores, "--couple", "fairness", "--couple", "privacy",
        "--couple", "general", "--rule", "majority", "--ratio", "0.1", "-o", patch,
    )  # fmt: skip
    assert found["rule"] == "majority"
    assert sum(found["counts"].values()) > 0  # type: ignore[attr-defined]
    evaluated = declutch(
        installed, "evaluate", model, "--patch", patch, "--suite", "riddles",
        "--judge", "word:the", "--limit", "6", "--max-new-tokens", "8", "-o", results,
    )  # fmt: skip
    metrics = {metric["name"]: metric for metric in evaluated["metrics"]}  # type: ignore[attr-defined]
    assert metrics["awareness/fairness/word"]["total"] == 6
    assert metrics["reply_length/riddles"]["total"] == 6
    assert "reply_length" in evaluated["measures"]  # type: ignore[operator]
