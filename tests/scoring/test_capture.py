"""Modules that are not called once, on all tokens, as a plain linear map."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from declutch.data.encoding import EncodedExample
from declutch.models.matrices import find_matrices
from declutch.scoring.accumulate import Accumulation
from declutch.scoring.methods.importance import Importance
from tests.scoring.test_importance import brute_force, make_examples, ours

Build = Callable[..., PreTrainedModel]


def check(
    model: PreTrainedModel,
    target: str = "mlp",
    batch_tokens: int = 64,
    examples: list[EncodedExample] | None = None,
) -> None:
    """Compare with brute force, for both statistics; at least one matrix has a score."""
    examples = examples or make_examples()
    for statistic in ("abs", "signed"):
        expected = brute_force(model, examples, target, statistic)
        actual = ours(model, examples, target, statistic, batch_tokens)
        assert expected.keys() == actual.keys()
        for name, scores in expected.items():
            torch.testing.assert_close(
                actual[name].double(), scores, rtol=2e-4, atol=1e-5 * float(scores.abs().max()),
                msg=f"{name} differs from autograd",
            )  # fmt: skip
        assert any(float(scores.abs().max()) > 0 for scores in expected.values())


def mlp_of(model: PreTrainedModel, layer: int) -> nn.Module:
    mlp = model.model.layers[layer].mlp
    assert isinstance(mlp, nn.Module)
    return mlp


def test_a_module_called_twice_counts_its_whole_gradient(tiny_model: Build) -> None:
    model = tiny_model("llama")
    mlp = mlp_of(model, 0)
    once = mlp.forward
    mlp.forward = lambda hidden: once(once(hidden) + hidden)
    check(model)


def test_weights_tied_between_two_modules_come_once(tiny_model: Build) -> None:
    model = tiny_model("llama")
    mlp_of(model, 1).up_proj.weight = mlp_of(model, 0).up_proj.weight  # type: ignore[union-attr]
    names = [matrix.name for matrix in find_matrices(model, "mlp").matrices]
    assert "model.layers.1.mlp.up_proj" not in names
    check(model)


def test_tokens_of_several_examples_mixed_are_taken_one_by_one(
    tiny_model: Build, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model("llama")
    mlp = mlp_of(model, 0)
    once = mlp.forward

    def flat(hidden: Tensor) -> Tensor:
        # As routers do: all tokens of all examples in one list.
        result: Tensor = once(hidden.reshape(-1, hidden.shape[-1]))
        return result.view(hidden.shape)

    mlp.forward = flat
    with caplog.at_level(logging.INFO, "declutch"):
        check(model)
    lines = [one.message for one in caplog.records if "mixed" in one.message]
    # Once for each statistic, not once a batch.
    line = "model.layers.0.mlp.gate_proj sees tokens of several examples mixed"
    assert lines == [f"{line}: one example at a time"] * 2


def test_an_unused_module_scores_zero(tiny_model: Build) -> None:
    model = tiny_model("llama")
    mlp = mlp_of(model, 1)
    mlp.forward = lambda hidden: hidden
    check(model)
    scores = ours(model, make_examples(), "mlp")
    assert not scores["model.layers.1.mlp.up_proj"].any()


def test_a_module_whose_output_is_thrown_away_scores_zero(tiny_model: Build) -> None:
    model = tiny_model("llama")
    mlp = mlp_of(model, 1)
    once = mlp.forward
    mlp.forward = lambda hidden: 0 * once(hidden).detach() + hidden
    check(model)


def test_a_weight_used_outside_its_module_is_found(
    tiny_model: Build, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model("llama")
    mlp = mlp_of(model, 1)

    def by_hand(hidden: Tensor) -> Tensor:
        up = functional.linear(hidden, mlp.up_proj.weight)  # type: ignore[arg-type,union-attr]
        gate = mlp.gate_proj(hidden)  # type: ignore[operator]
        result: Tensor = mlp.down_proj(functional.silu(gate) * up)  # type: ignore[operator]
        return result

    mlp.forward = by_hand
    with caplog.at_level(logging.INFO, "declutch"):
        check(model)
    assert "1 matrices (model.layers.1.mlp.up_proj.weight, ...) are used outside" in caplog.text


@pytest.mark.parametrize("architecture", ["mixtral", "gpt2"])
def test_gradients_and_flags_are_put_back(architecture: str, tiny_model: Build) -> None:
    model = tiny_model(architecture)
    parameters = dict(model.named_parameters())
    for parameter in parameters.values():
        parameter.grad = torch.full_like(parameter, 3.0)
    first = ours(model, make_examples(), "all")
    for parameter in parameters.values():
        assert parameter.requires_grad
        assert parameter.grad is not None
        assert bool((parameter.grad == 3.0).all())
        parameter.grad = None
    second = ours(model, make_examples(), "all")
    for name, scores in first.items():
        assert torch.equal(scores, second[name])


def test_experts_are_shared_out_over_groups(tiny_model: Build) -> None:
    model, examples = tiny_model("mixtral"), make_examples()
    matrices = find_matrices(model, "mlp").matrices
    together = Accumulation(model, Importance(), matrices, examples, 64)
    together.run()
    for group in (matrices[:3], matrices[3:]):  # experts of one parameter in both
        apart = Accumulation(model, Importance(), group, examples, 64)
        apart.run()
        for matrix in group:
            assert torch.equal(apart.states[matrix.name], together.states[matrix.name])
