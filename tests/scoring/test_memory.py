"""The memory plan, and running out of memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from declutch.errors import OutOfMemory, SettingsError
from declutch.models.matrices import find_matrices
from declutch.scoring.accumulate import Accumulation
from declutch.scoring.memory import PassPlan, make_plan, measure, parse_size, state_bytes
from declutch.scoring.methods.importance import Importance
from declutch.scoring.score import score
from tests.scoring.test_importance import make_examples, ours
from tests.scoring.test_score import DATA

MIB = 1 << 20


@pytest.mark.parametrize(
    ("text", "size"), [("800M", 800 * MIB), ("1.5GiB", 1536 * MIB), ("2e9", 2 * 10**9), ("7", 7)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "8 apples", "-1G", "1.2.3M"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="write for example 800M or 16GiB"):
        parse_size(text)


def test_a_plan_cuts_the_matrices_into_the_fewest_groups(tiny_llama: PreTrainedModel) -> None:
    matrices = find_matrices(tiny_llama, "mlp").matrices
    method, examples = Importance(), make_examples()
    free = make_plan(tiny_llama, method, matrices, examples, 1 << 30)
    assert len(free.groups) == 1
    one = state_bytes(method, matrices[0])
    longest = max(len(example) for example in examples)
    smallest = max(free.fixed + longest * free.per_token, free.workspace)
    tight = make_plan(tiny_llama, method, matrices, examples, smallest + 2 * one)
    assert [len(group) for group in tight.groups] == [2, 2, 2]
    assert {matrix.name for group in tight.groups for matrix in group} == {
        matrix.name for matrix in matrices
    }
    assert tight.peak <= tight.limit
    with pytest.raises(OutOfMemory, match="Give --memory-limit at least"):
        make_plan(tiny_llama, method, matrices, examples, smallest + one - 1)


@pytest.mark.parametrize("architecture", ["llama", "mixtral", "gpt2"])
def test_one_sum_of_each_shape_shows_the_peak_of_all(
    architecture: str, tiny_model: Callable[..., PreTrainedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(architecture)
    matrices = find_matrices(model, "all").matrices
    example = max(make_examples(), key=len)
    once = measure(model, Importance(), matrices, example)
    monkeypatch.setattr("declutch.scoring.memory._OnceAShape", lambda method: method)
    assert measure(model, Importance(), matrices, example) == once


def test_a_quick_plan_is_the_same_where_memory_is_plenty(tiny_llama: PreTrainedModel) -> None:
    matrices = find_matrices(tiny_llama, "mlp").matrices
    method, examples = Importance(), make_examples()
    for limit in (1 << 20, 3 << 20, 20 << 20, 1 << 33):
        try:
            whole = make_plan(tiny_llama, method, matrices, examples, limit)
        except OutOfMemory:
            with pytest.raises(OutOfMemory):
                make_plan(tiny_llama, method, matrices, examples, limit, quick=True)
            continue
        short = make_plan(tiny_llama, method, matrices, examples, limit, quick=True)
        assert (short.groups, short.batch_tokens) == (whole.groups, whole.batch_tokens)
        assert short.peak <= limit


def test_a_quick_plan_makes_one_short_pass(
    tiny_llama: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []
    run = Accumulation.run

    def watched(self: Accumulation) -> None:
        lengths.append(len(self.examples[0]))
        run(self)

    monkeypatch.setattr(Accumulation, "run", watched)
    matrices = find_matrices(tiny_llama, "mlp").matrices
    make_plan(tiny_llama, Importance(), matrices, make_examples(), 1 << 33, quick=True)
    make_plan(tiny_llama, Importance(), matrices, make_examples(), 1 << 33)
    assert lengths == [9, 9, 18]


def test_a_plan_is_the_same_after_it_was_json(tiny_llama: PreTrainedModel) -> None:
    matrices = find_matrices(tiny_llama, "mlp").matrices
    plan = make_plan(tiny_llama, Importance(), matrices, make_examples(), 1 << 30)
    assert PassPlan.of_record(plan.record(), matrices) == plan


def test_groups_give_the_shortlists_of_one_pass(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    whole = score(tiny_llama, tiny_tokenizer, DATA, shortlist=0.1)
    matrices = find_matrices(tiny_llama, "mlp").matrices
    plan = make_plan(tiny_llama, Importance(), matrices, make_examples(), 1 << 30)
    beside = max(plan.fixed + 64 * plan.per_token, plan.workspace)
    limit = beside + 2 * state_bytes(Importance(), matrices[0])
    parts = score(tiny_llama, tiny_tokenizer, DATA, shortlist=0.1, memory_limit=limit)
    for name in DATA:
        for matrix, shortlist in whole.dimension(name).items():
            torch.testing.assert_close(parts.dimension(name)[matrix].scores, shortlist.scores)
            assert set(parts.dimension(name)[matrix].indices.tolist()) == set(
                shortlist.indices.tolist()
            )


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_memory_that_runs_out_midway_changes_no_sum(
    architecture: str, tiny_model: Callable[..., PreTrainedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(architecture)
    expected = ours(model, make_examples(), "mlp")
    calls = 0
    add = Importance.add

    def full_once(self: Importance, state: Tensor, *rest: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:  # some matrices of the batch are summed, the others are not
            raise torch.OutOfMemoryError("CUDA out of memory (pretended)")
        add(self, state, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Importance, "add", full_once)
    for name, scores in ours(model, make_examples(), "mlp", batch_tokens=200).items():
        torch.testing.assert_close(scores, expected[name])
    assert calls > 6


def test_one_example_that_does_not_fit_says_so(
    tiny_llama: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory (pretended)")

    monkeypatch.setattr(Importance, "add", full)
    matrices = find_matrices(tiny_llama, "mlp").matrices
    sums = Accumulation(tiny_llama, Importance(), matrices, make_examples(), 200)
    with pytest.raises(OutOfMemory, match="One example of 18 tokens does not fit"):
        sums.run()
    assert sums.batch_tokens < 40  # halved down to one example


def test_other_errors_are_not_taken_for_it(
    tiny_llama: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(Importance, "add", broken)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        ours(tiny_llama, make_examples(), "mlp")


@pytest.mark.slow
def test_the_peak_stays_under_the_limit() -> None:
    from benchmarks import memory

    rows = [memory.measure(share) for share in memory.SHARES]
    for row in rows[1:]:
        assert row.limit is not None
        assert row.digest == rows[0].digest
        assert row.peak <= row.limit
    assert rows[0].passes == 1 < rows[1].passes < rows[2].passes
