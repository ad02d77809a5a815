"""Scores against a brute-force computation: one example at a time, autograd, one matrix each."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from declutch.data.encoding import EncodedExample
from declutch.models.matrices import find_matrices
from declutch.scoring.accumulate import Accumulation
from declutch.scoring.methods.importance import Importance
from tests.conftest import ARCHITECTURES


def make_examples(count: int = 5, seed: int = 0) -> list[EncodedExample]:
    generator = torch.Generator().manual_seed(seed)
    examples = []
    for number in range(count):
        prompt, response = 3 + 2 * number, 2 + (number * 3) % 7
        ids = torch.randint(7, 300, (prompt + response,), generator=generator).tolist()
        examples.append(EncodedExample(tuple(ids), tuple([False] * prompt + [True] * response)))
    return examples


def brute_force(
    model: PreTrainedModel, examples: list[EncodedExample], target: str, statistic: str = "abs"
) -> dict[str, Tensor]:
    """Mean |W·g| by transformers' own loss and autograd, example by example."""
    matrices = find_matrices(model, target).matrices
    parameters = dict(model.named_parameters())
    weights = [parameters[matrix.parameter] for matrix in matrices]
    totals = {matrix.name: torch.zeros(matrix.shape, dtype=torch.float64) for matrix in matrices}
    for example in examples:
        labels = [
            token if counted else -100
            for token, counted in zip(example.input_ids, example.loss_mask, strict=True)
        ]
        ids = torch.tensor([example.input_ids])
        loss = model(input_ids=ids, labels=torch.tensor([labels]), use_cache=False).loss
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        for matrix, weight, gradient in zip(matrices, weights, gradients, strict=True):
            if gradient is not None:  # the model may not use a weight
                product = matrix.view(weight.detach() * gradient).double()
                totals[matrix.name] += product.abs() if statistic == "abs" else product
    return {name: total / len(examples) for name, total in totals.items()}


def ours(
    model: PreTrainedModel,
    examples: list[EncodedExample],
    target: str,
    statistic: str = "abs",
    batch_tokens: int = 64,
) -> dict[str, Tensor]:
    matrices = find_matrices(model, target).matrices
    method = Importance(statistic)
    sums = Accumulation(model, method, matrices, examples, batch_tokens)
    sums.run()
    return {
        matrix.name: method.scores(
            sums.states[matrix.name],
            matrix.view(sums.parameters[matrix.parameter].detach()),
            len(examples),
        )
        for matrix in matrices
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("statistic", ["abs", "signed"])
def test_scores_equal_brute_force(
    architecture: str, statistic: str, tiny_model: Callable[..., PreTrainedModel]
) -> None:
    model, examples = tiny_model(architecture), make_examples()
    expected = brute_force(model, examples, "all", statistic)
    actual = ours(model, examples, "all", statistic)
    assert expected.keys() == actual.keys()
    for name, scores in expected.items():
        assert scores.abs().max() > 0, name
        torch.testing.assert_close(
            actual[name].double(), scores, rtol=2e-4, atol=1e-5 * float(scores.abs().max())
        )
