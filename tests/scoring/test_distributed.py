"""Two processes under torchrun on one machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from declutch.errors import SettingsError
from declutch.files import write_jsonl
from declutch.scoring.distributed import Team, _refuse_shared, session
from declutch.scoring.shortlists import Scores
from tests.conftest import build_model, build_tokenizer
from tests.scoring.test_score import make_pairs

ROOT = Path(__file__).parents[2]
KINDS = ("fairness", "privacy", "fairness:contrast")


def test_a_process_alone_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with session() as team:
        assert team == Team()
        assert team.main
        assert team.total(3, 4) == [3, 4]
        assert team.on_main(lambda: "answer") == "answer"
        tensor = torch.ones(3)
        team.reduce(tensor)
        assert torch.equal(tensor, torch.ones(3))
        assert not torch.distributed.is_initialized()


def test_half_an_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match="MASTER_ADDR, MASTER_PORT, RANK is not set"), session():
        pass


@pytest.mark.parametrize("value", ["two", "", "0", "-1"])
def test_a_wrong_environment_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", value)
    with pytest.raises(SettingsError, match="WORLD_SIZE is"), session():
        pass


def test_two_processes_on_one_gpu_are_refused() -> None:
    _refuse_shared([["a 0"], ["a 1"], [], []])
    _refuse_shared([["a 0"], ["b 0"]])  # of two machines
    for gpus in ([["a 0"], ["a 1"], ["a 0"]], [["a 0", "a 1"], [], ["a 1"]]):
        with pytest.raises(SettingsError, match="Processes 0 and 2 hold their models on one GPU"):
            _refuse_shared(gpus)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_examples_are_shared_out_by_tokens(size: int) -> None:
    lengths = [5, 90, 31, 30, 29, 8, 8, 8, 7, 60, 12]
    shares = [Team(rank=rank, size=size).share(lengths) for rank in range(size)]
    assert sorted(index for share in shares for index in share) == list(range(len(lengths)))
    loads = [sum(lengths[index] for index in share) for share in shares]
    assert max(loads) - min(loads) <= max(lengths)
    for share in shares:
        assert share == sorted(share, key=lambda index: (-lengths[index], index))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("distributed")
    build_model("llama").save_pretrained(folder / "model")
    build_tokenizer().save_pretrained(folder / "model")
    for name, start in (("fairness", 0), ("privacy", 3)):
        pairs = make_pairs(11, start)
        fields = ("prompt", "response", "bad_response")
        rows = [{field: getattr(one, field) for field in fields} for one in pairs]
        write_jsonl(folder / f"{name}.jsonl", rows)
    return folder


def command(folder: Path, out: str) -> list[str]:
    return [
        "score", str(folder / "model"), "--device", "cpu", "--allow-fewer",
        "--data", f"fairness={folder / 'fairness.jsonl'}",
        "--data", f"privacy={folder / 'privacy.jsonl'}",
        "--contrast", "fairness", "--no-harmless", "--shortlist", "0.1", "-o", str(folder / out),
    ]  # fmt: skip


def torchrun(*arguments: str) -> list[str]:
    # --standalone takes a free port by itself.
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return [*run, *arguments]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}


@pytest.mark.slow
def test_two_processes_give_the_shortlists_of_one(folder: Path) -> None:
    one = [sys.executable, "-m", "declutch", *command(folder, "one")]
    two = torchrun("-m", "declutch", *command(folder, "two"))
    for arguments in (one, two):
        done = subprocess.run(
            arguments, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
    first, second = Scores.load(folder / "one"), Scores.load(folder / "two")
    assert first.dimensions == second.dimensions == KINDS
    for name in first.dimensions:
        for matrix, shortlist in first.dimension(name).items():
            other = second.dimension(name)[matrix]
            torch.testing.assert_close(shortlist.scores, other.scores)
            assert set(shortlist.indices.tolist()) == set(other.indices.tolist())
    for matrix, candidates in first.candidates.items():
        for name in KINDS:
            torch.testing.assert_close(
                candidates.scores[name], second.candidates[matrix].scores[name],
                rtol=1e-4, atol=1e-6,
            )  # fmt: skip
    assert not list((folder / "two").glob("**/*.part*"))
    assert not (folder / "two" / "partial").exists()


KILLED = """
import os, signal, sys, time
from declutch.scoring import score
from declutch.cli import main
original = score.score_dimension
def dies(job, team, partial):
    if job.name == "privacy" and team.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(job, team, partial)
score.score_dimension = dies
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_dead_process_ends_the_others_and_leaves_what_is_finished(folder: Path) -> None:
    script = folder / "killed.py"
    script.write_text(KILLED)
    started = time.monotonic()
    done = subprocess.run(
        torchrun(str(script), *command(folder, "killed")),
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode != 0
    text = " ".join(done.stderr.split())
    assert "Another of the 2 processes ended or answers no more; process 0 stops too" in text
    assert time.monotonic() - started < 60
    assert Scores.load(folder / "killed").dimensions == ("fairness",)
    # One process goes on where two have stopped.
    again = [sys.executable, "-m", "declutch", *command(folder, "killed")]
    subprocess.run(again, cwd=folder, env=ENVIRONMENT, check=True, capture_output=True, timeout=300)
    assert Scores.load(folder / "killed").dimensions == KINDS


def test_sigterm_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("WORLD_SIZE", "1")
    with session():
        assert signal.getsignal(signal.SIGTERM) is before
    assert signal.getsignal(signal.SIGTERM) is before
