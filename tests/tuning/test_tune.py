"""The whole search on a tiny model: stages, files, going on, and what is never seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from declutch.errors import DataError, SettingsError
from declutch.files import read_json
from declutch.patching import Patch
from declutch.pipeline import tune
from declutch.replies.store import read_replies
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
        for f in [out / "before", out / "after", *(out / "proof").glob("*")]
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
    run(model, tmp_path / "out", trials=5)
    again = run(model, tmp_path / "out")
    assert again.record.front == found[0].record.front


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


def test_a_trial_that_was_killed_leaves_no_trace(
    found: tuple[Tuned, Path], model: str, tmp_path: Path
) -> None:
    """As SIGKILL leaves it: begun, and never told."""
    out = tmp_path / "out"
    run(model, out, trials=5)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{out / 'search.db'}")
    study.ask()
    assert run(model, out).record.front == found[0].record.front
