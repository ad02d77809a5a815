"""Wanda and SparseGPT against plain float64 computations."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from declutch.data.encoding import EncodedExample
from declutch.errors import SettingsError
from declutch.models.matrices import find_matrices
from declutch.scoring.accumulate import Accumulation
from declutch.scoring.method import Method, get_method
from declutch.scoring.methods.sparsegpt import SparseGPT
from declutch.scoring.methods.wanda import Wanda
from tests.conftest import build_model
from tests.scoring.test_importance import make_examples


def inputs_of(
    model: PreTrainedModel, name: str, examples: Sequence[EncodedExample], all_tokens: bool
) -> Tensor:
    """The module's inputs at the chosen tokens of each example alone, ``[N, in]`` float64."""
    module = model.get_submodule(name)
    caught: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, args: caught.append(args[0].detach()))
    rows = []
    for example in examples:
        caught.clear()
        with torch.no_grad():
            model(input_ids=torch.tensor([example.input_ids]))
        mask = torch.tensor(example.loss_mask) | all_tokens
        rows += [x[0, mask].double() for x in caught]
    handle.remove()
    return torch.cat(rows)


def scores_of(model: PreTrainedModel, method: Method, target: str) -> dict[str, Tensor]:
    matrices = find_matrices(model, target).matrices
    examples = make_examples()
    sums = Accumulation(model, method, matrices, examples, batch_tokens=40)
    sums.run()
    assert not any(parameter.grad is not None for parameter in model.parameters())
    return {
        matrix.name: method.scores(
            sums.states[matrix.name],
            matrix.view(sums.parameters[matrix.parameter].detach()),
            len(examples),
        )
        for matrix in matrices
    }


def weight_of(model: PreTrainedModel, name: str) -> Tensor:
    module = model.get_submodule(name)
    weight = module.weight
    assert isinstance(weight, Tensor)
    return (weight if isinstance(module, nn.Linear) else weight.T).detach().double()


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("all_tokens", [False, True])
def test_wanda(architecture: str, all_tokens: bool) -> None:
    model = build_model(architecture)
    for name, actual in scores_of(model, Wanda(all_tokens), "mlp").items():
        x = inputs_of(model, name, make_examples(), all_tokens)
        expected = weight_of(model, name).abs() * x.square().sum(0).sqrt()
        torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("all_tokens", [False, True])
def test_sparsegpt(architecture: str, all_tokens: bool) -> None:
    model = build_model(architecture)
    scores = scores_of(model, SparseGPT(damping=0.01, all_tokens=all_tokens), "all")
    for name, actual in scores.items():
        x = inputs_of(model, name, make_examples(), all_tokens)
        hessian = x.T @ x
        damping = 0.01 * hessian.diagonal().mean()
        inverse = torch.linalg.inv(hessian + damping * torch.eye(len(hessian), dtype=torch.float64))
        expected = weight_of(model, name).square() / inverse.diagonal()
        torch.testing.assert_close(actual.double(), expected, rtol=1e-3, atol=1e-7)


def test_response_tokens_and_all_tokens_differ() -> None:
    model = build_model("llama")
    response, everything = (scores_of(model, Wanda(flag), "mlp") for flag in (False, True))
    for name, scores in response.items():
        assert bool((everything[name] >= scores).all())
        assert not torch.allclose(everything[name], scores)


def test_a_module_called_twice_gives_both_its_inputs() -> None:
    model = build_model("llama")
    mlp = model.model.layers[0].mlp
    once = mlp.forward
    mlp.forward = lambda hidden: once(once(hidden) + hidden)
    for name, actual in scores_of(model, Wanda(), "down_proj").items():
        x = inputs_of(model, name, make_examples(), False)
        expected = weight_of(model, name).abs() * x.square().sum(0).sqrt()
        torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("flat_layer", [0, 1])
def test_mixed_examples_are_not_counted_twice(flat_layer: int) -> None:
    """The modules before the mixed one have their sums by the time that it is called."""
    model = build_model("llama")
    expected = scores_of(model, Wanda(all_tokens=True), "mlp")
    mlp = model.model.layers[flat_layer].mlp
    once = mlp.forward
    mlp.forward = lambda hidden: once(hidden.reshape(-1, hidden.shape[-1])).view(hidden.shape)
    for name, actual in scores_of(model, Wanda(all_tokens=True), "mlp").items():
        torch.testing.assert_close(actual, expected[name], rtol=1e-4, atol=1e-6)


def test_an_input_that_is_always_zero_scores_zero() -> None:
    method = SparseGPT()
    state = torch.diag(torch.tensor([4.0, 0.0, 1.0]))
    scores = method.scores(state, torch.ones(2, 3), 1)
    assert bool((scores[:, 1] == 0).all())
    assert bool((scores[:, [0, 2]] > 0).all())


def test_scores_leave_the_weight_as_it_is() -> None:
    weight = -torch.ones(4, 3)
    for name in ("importance", "wanda", "sparsegpt"):
        method = get_method(name)
        state = torch.eye(3) if name == "sparsegpt" else torch.ones(4, 3)[: (4, 1)[name == "wanda"]]
        scores = method.scores(state.squeeze(0), weight, 2)
        assert scores.shape == (4, 3)
        assert bool((scores > 0).all()) or name == "sparsegpt"
        assert bool((weight == -1).all())


@pytest.mark.parametrize("name", ["wanda", "sparsegpt"])
def test_modules_that_are_no_linear_maps_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"--method {name} is defined for plain linear maps"):
        scores_of(build_model("mixtral"), get_method(name), "mlp")


def test_methods_and_statistics_are_named_in_errors() -> None:
    with pytest.raises(SettingsError, match="importance, sparsegpt, wanda"):
        get_method("magnitude")
    with pytest.raises(SettingsError, match="give one of abs, signed"):
        get_method("importance", "median")
    with pytest.raises(SettingsError, match="does not go with --method wanda"):
        get_method("wanda", "signed")
    with pytest.raises(SettingsError, match="--all-tokens does not go with"):
        get_method("importance", all_tokens=True)
