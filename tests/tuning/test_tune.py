"""The whole search on a tiny model: stages, files, going on, and what is never seen."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

from declutch.errors import DataError, SettingsError
from declutch.files import read_json
from declutch.patching import Patch
from declutch.pipeline import tune
from declutch.replies.store import read_replies
from declutch.scoring.shortlists import Scores
from declutch.tuning.tune import Tuned
from tests.conftest import build_model, build_tokenizer

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    build_model("llama", max_position_embeddings=512).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return str(folder)


def options(**changes: Any) -> dict[str, Any]:
    return {
        "num_samples": 8, "shortlist": 0.05, "max_new_tokens": 3, "limit": 14, "trials": 14,
        "minutes": None, "survivors": 4, "tuning_tokens": 3, "quick_items": 4,
        "max_perplexity": 1.5, **changes,
    }  # fmt: skip


def run(model: str, out: Path, **changes: Any) -> Tuned:
    return tune(
        model,
        couple={"fairness": "bundled:fairness", "privacy": "bundled:privacy"},
        exclude={"general": "bundled:general"},
        out=out,
        **options(**changes),
    )


@pytest.fixture(scope="module")
def found(model: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tuned, Path]:
    out = tmp_path_factory.mktemp("tune") / "out"
    return run(model, out), out


def test_the_record_holds_what_was_done(found: tuple[Tuned, Path]) -> None:
    tuned, out = found
    record = tuned.record
    assert record.tried + record.pruned <= 14
    assert record.split["bundled/fairness"] == (7, 7)
    assert len(record.generated) <= 4
    assert read_json(out / "tune.json")["tried"] == record.tried
    assert all(one.feasible for one in record.front)
    gains = [one.gain for one in record.front]
    assert gains == sorted(gains)
    # No phrase judge finds anything in the replies of random weights.
    assert record.sentence


def test_proof_prompts_are_seen_by_nobody_before(found: tuple[Tuned, Path]) -> None:
    tuned, out = found
    tuning = {row.prompt for f in (out / "tuning").iterdir() for row in read_replies(f)}
    proof = {
        row.prompt
        for f in [out / "before", out / "after", *(out / "proof").glob("*/")]
        if f.exists()
        for row in read_replies(f)
    }
    assert tuning
    assert tuning.isdisjoint(proof)
    assert (tuned.patch is None) == (not proof)


def test_the_same_again_gives_the_same(found: tuple[Tuned, Path], model: str) -> None:
    tuned, out = found
    assert run(model, out).record.front == tuned.record.front


def test_killed_and_gone_on_with(found: tuple[Tuned, Path], model: str, tmp_path: Path) -> None:
    """Five trials and then the rest: the front is that of fourteen at once."""
    first = run(model, tmp_path / "out", trials=5)
    again = run(model, tmp_path / "out")
    assert again.record.front == found[0].record.front
    assert again.record.proven == found[0].record.proven
    assert first.record.looks == 1
    same = first.patch == again.patch
    assert again.record.looks == (1 if same else 2)
    assert ("winner number 2" in again.record.sentence) == (not same)


def test_a_search_made_otherwise_is_not_gone_on_with(found: tuple[Tuned, Path], model: str) -> None:
    with pytest.raises(SettingsError, match=r"--max-perplexity was 1\.5 and is now 1\.2"):
        run(model, found[1], max_perplexity=1.2)
    with pytest.raises(SettingsError, match="what candidates are tried on was"):
        run(model, found[1], quick_items=5)


def test_wrong_options_show_at_once(model: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few to search on some and prove on others"):
        run(model, tmp_path / "out", limit=8)
    with pytest.raises(SettingsError, match="no pairs of"):
        run(model, tmp_path / "out", suite=("salad=bundled:eval_fairness",))


def test_the_patch_is_the_winners(found: tuple[Tuned, Path]) -> None:
    tuned, out = found
    if tuned.patch is not None:
        assert Patch.load(out / "patch") == tuned.patch
    else:
        assert not (out / "patch").exists()


def test_two_processes_find_what_one_does(
    found: tuple[Tuned, Path], model: str, tmp_path: Path
) -> None:
    again = run(model, tmp_path / "out", processes=2)
    assert again.record.front == found[0].record.front
    assert again.record.tried == found[0].record.tried


@pytest.mark.slow
def test_a_search_that_was_killed_at_any_moment(
    found: tuple[Tuned, Path], model: str, tmp_path: Path
) -> None:
    """SIGKILL while candidates are tried by two processes; the same command then ends alike."""
    out = tmp_path / "out"
    code = (
        "import sys; from pathlib import Path; from tests.tuning.test_tune import run; "
        "run(sys.argv[1], Path(sys.argv[2]), processes=2)"
    )
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code, model, str(out)])
        before = time.monotonic()
        while not (out / "search.db").exists() and process.poll() is None:
            assert time.monotonic() - before < 300
            time.sleep(0.05)
        time.sleep(0.3)
        process.kill()
        process.wait()
    assert run(model, out, processes=2).record.front == found[0].record.front


def test_a_round_goes_on_from_the_best_so_far(model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tuned = run(model, out, rounds=2, trials=24)
    base = Patch.load(out / "rounds" / "2" / "patch")
    assert len(base)
    first, again = (Scores.load(folder / "scores") for folder in (out, out / "rounds" / "2"))
    zeroed = 0
    for name, one in again.candidates.items():
        at = torch.isin(one.indices, base.indices.get(name, torch.empty(0, dtype=torch.int64)))
        zeroed += int(at.sum())
        for scores in one.scores.values():
            assert not scores[at].any()
    assert zeroed == len(base)
    assert any(
        not torch.equal(one.scores[kind], first.candidates[name].scores[kind])
        for name, one in again.candidates.items()
        for kind in one.scores
    )
    study = optuna.load_study(study_name="round-2", storage=f"sqlite:///{out / 'search.db'}")
    weights = [t.user_attrs["tried"]["weights"] for t in study.trials if "tried" in t.user_attrs]
    assert weights
    assert min(weights) > len(base)
    assert tuned.record.tried > len(weights)
