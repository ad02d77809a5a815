"""Scoring ends with what every dimension scores wherever one of them has a shortlisted neuron."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from declutch.errors import DeclutchError, FileFormatError
from declutch.locating import locate
from declutch.models.matrices import find_matrices
from declutch.scoring.accumulate import Accumulation
from declutch.scoring.dimension import Job, score_dimension
from declutch.scoring.memory import make_plan, state_bytes
from declutch.scoring.methods.importance import Importance
from declutch.scoring.score import score
from declutch.scoring.shortlists import Scores
from tests.scoring.test_importance import make_examples, ours
from tests.scoring.test_score import DATA, as_matrices, make_pairs

KINDS = ("fairness", "privacy", "general", "fairness:contrast", "privacy:contrast")
CONTRAST = ("fairness", "privacy")


def check_gathered(scores: Scores, whole: Scores) -> None:
    """Candidates are the union of the shortlists, and their scores those of a whole matrix."""
    assert tuple(scores.info.gathered) == KINDS
    everything = {name: as_matrices(whole, name) for name in KINDS}
    for matrix, candidates in scores.candidates.items():
        union = set().union(*(scores.dimension(n)[matrix].indices.tolist() for n in KINDS))
        assert candidates.indices.tolist() == sorted(union)
        for name in KINDS:
            expected = everything[name][matrix].flatten()[candidates.indices]
            scale = float(everything[name][matrix].abs().max())
            torch.testing.assert_close(
                candidates.scores[name], expected, rtol=1e-4, atol=1e-5 * scale
            )


def test_every_dimension_is_gathered_at_the_union(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    whole = score(tiny_llama, tiny_tokenizer, DATA, shortlist=1.0, contrast=CONTRAST)
    options: dict[str, Any] = {"shortlist": 0.03, "contrast": CONTRAST, "no_harmless": True}
    scores = score(tiny_llama, tiny_tokenizer, DATA, out=tmp_path / "a", **options)
    assert 0 < len(scores.candidates["model.layers.0.mlp.up_proj"].indices) < 0.2 * 64 * 32
    check_gathered(scores, whole)
    check_gathered(Scores.load(tmp_path / "a"), whole)
    patch = locate(scores, ["fairness", "privacy"], ["general"], ratio=0.02, rule="balanced")
    assert len(patch) > 0

    # Several passes for the sums, and one for what is gathered; in batches of one example.
    matrices = find_matrices(tiny_llama, "mlp").matrices
    plan = make_plan(tiny_llama, Importance(), matrices, make_examples(), 1 << 30)
    beside = max(plan.fixed + 64 * plan.per_token, plan.workspace)
    small = score(
        tiny_llama, tiny_tokenizer, DATA, out=tmp_path / "b", batch_tokens=1,
        memory_limit=beside + 2 * state_bytes(Importance(), matrices[0]), **options,
    )  # fmt: skip
    check_gathered(small, whole)


def test_nothing_is_gathered_without_a_contrast(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    scores = score(tiny_llama, tiny_tokenizer, DATA)
    assert not scores.candidates
    assert not scores.info.gathered


def test_harmless_prompts_are_contrasted_beside_the_others(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    options: dict[str, Any] = {"contrast": ("fairness",), "num_samples": 3}
    one = {"fairness": DATA["fairness"]}
    bundled = score(tiny_llama, tiny_tokenizer, one, **options)
    assert bundled.dimensions == ("fairness", "fairness:contrast", "harmless:contrast")
    found = bundled.info.dimensions["harmless:contrast"]
    assert (found.source, found.examples) == ("bundled:harmless", 3)
    own = score(tiny_llama, tiny_tokenizer, {**one, "harmless": DATA["privacy"]}, **options)
    assert own.dimensions == ("fairness", "harmless", "fairness:contrast", "harmless:contrast")
    assert own.info.dimensions["harmless:contrast"].source == "memory"


@pytest.mark.parametrize("statistic", ["abs", "signed"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mixtral"])
def test_chosen_neurons_score_what_they_score_among_all(
    statistic: str, architecture: str, tiny_model: Callable[..., PreTrainedModel]
) -> None:
    """Plain linear maps of either kind, and stacked experts, whose gradient is autograd's."""
    model, examples = tiny_model(architecture), make_examples()
    method = Importance(statistic)
    matrices = find_matrices(model, "mlp").matrices
    at = {one.name: torch.arange(0, one.numel, 7) for one in matrices}
    sums = Accumulation(model, method, matrices, examples, 64, at=at)
    sums.run()
    expected = ours(model, examples, "mlp", statistic)
    for matrix in matrices:
        weight = matrix.view(sums.parameters[matrix.parameter].detach())
        plan = make_plan(model, method, matrices, examples, 1 << 30)
        job = Job("x", model, method, plan, examples, [1] * 5, 5, 0.1, at)
        found = job.shortlist(matrix, sums.states[matrix.name], weight)
        whole = expected[matrix.name].flatten()
        torch.testing.assert_close(
            found.scores, whole[at[matrix.name]], rtol=1e-4, atol=1e-5 * float(whole.abs().max())
        )
        assert torch.equal(found.weights, weight.flatten()[at[matrix.name]])


def test_an_interrupted_gather_goes_on_and_a_new_dimension_begins_anew(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    jobs: list[tuple[str, bool]] = []
    power: list[str] = []

    def counting(job: Job, *others: object) -> object:
        if job.at is not None and job.name == "general" and len(jobs) == 6 and not power:
            power.append("back")
            raise DeclutchError("the power fails")
        jobs.append((job.name, job.at is not None))
        return score_dimension(job, *others)  # type: ignore[arg-type]

    monkeypatch.setattr("declutch.scoring.score.score_dimension", counting)
    options: dict[str, Any] = {
        "shortlist": 0.03, "contrast": ("fairness",), "out": tmp_path, "no_harmless": True
    }  # fmt: skip
    three = {name: DATA[name] for name in ("fairness", "privacy", "general")}
    with pytest.raises(DeclutchError, match="the power fails"):
        score(tiny_llama, tiny_tokenizer, three, **options)
    first = [("fairness", False), ("privacy", False), ("general", False),
             ("fairness:contrast", False), ("fairness", True), ("privacy", True)]  # fmt: skip
    assert jobs == first
    scores = score(tiny_llama, tiny_tokenizer, three, **options)
    assert jobs[len(first) :] == [("general", True), ("fairness:contrast", True)]
    assert not (tmp_path / "partial").exists()
    score(tiny_llama, tiny_tokenizer, three, **options)
    assert len(jobs) == 8  # all is there

    more = {**three, "honesty": make_pairs(3, 5)}
    scores = score(tiny_llama, tiny_tokenizer, more, **options)
    assert jobs[8:] == [("honesty", False), *((name, True) for name in scores.info.gathered)]
    assert len(scores.info.gathered) == 5


def test_changed_candidates_are_not_loaded(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    score(tiny_llama, tiny_tokenizer, DATA, out=tmp_path, contrast=CONTRAST, no_harmless=True)
    path = tmp_path / "shortlists.safetensors"
    whole = load_file(path)
    place = "candidates/model.layers.0.mlp.up_proj"

    def refused(reason: str, **changes: torch.Tensor) -> None:
        save_file({**whole, **{f"{place}/{part}": value for part, value in changes.items()}}, path)
        with pytest.raises(FileFormatError, match=reason):
            Scores.load(tmp_path)

    values, indices = whole[f"{place}/privacy"], whole[f"{place}/indices"]
    refused("not a finite number", privacy=values * float("nan"))
    refused("not of their number and dtype", privacy=values[1:].clone())
    refused("not the shortlists' neurons", indices=indices + 1)
    refused("the checksum", privacy=-values)
    save_file({k: v for k, v in whole.items() if k != f"{place}/privacy"}, path)
    with pytest.raises(FileFormatError, match="damaged"):
        Scores.load(tmp_path)
