"""What stands beside an example, or after a token: found before anything is measured."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from transformers import (
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from declutch.data.encoding import EncodedExample, Encoder
from declutch.data.example import Example
from declutch.errors import ModelError
from declutch.measures.margin import margins
from declutch.models.forward import evaluation_mode
from declutch.models.matrices import find_matrices
from declutch.models.probes import must_be_alone, probe, relative_change, tolerance
from declutch.scoring.score import score
from tests.conftest import ARCHITECTURES, build_model
from tests.odd_models import BIDIRECTIONAL, DYNAMIC, LONGROPE, build_odd

# From 3 to 60 tokens, so that positions end, and factors change, among them.
LENGTHS = (3, 9, 14, 20, 40, 60)


def sequences(lengths: tuple[int, ...] = LENGTHS) -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(3)
    return [
        tuple(torch.randint(8, 300, (length,), generator=generator).tolist()) for length in lengths
    ]


def cast_to(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_usual_models_are_left_in_batches(architecture: str, dtype: torch.dtype) -> None:
    model = cast_to(build_model(architecture), dtype)
    findings = probe(model, sequences())
    assert findings.ahead <= findings.tolerance / 2
    assert findings.beside <= findings.tolerance / 2
    assert not must_be_alone(model, sequences())


@pytest.mark.parametrize("name", BIDIRECTIONAL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_sees_ahead_is_refused(name: str, dtype: torch.dtype) -> None:
    model = cast_to(build_odd(name), dtype)
    with pytest.raises(ModelError, match="no causal language model as it is loaded"):
        must_be_alone(model, sequences())


def test_paligemma_without_token_types_sees_ahead() -> None:
    text = {**ARCHITECTURES["llama"], "model_type": "gemma", "head_dim": 8}
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
              "num_attention_heads": 4, "image_size": 16, "patch_size": 8}  # fmt: skip
    config = PaliGemmaConfig(text_config=text, vision_config=vision)
    torch.manual_seed(0)
    model = PaliGemmaForConditionalGeneration(config).eval()
    with pytest.raises(ModelError, match="PaliGemmaForConditionalGeneration is no causal"):
        must_be_alone(model, sequences())


@pytest.mark.parametrize("name", ["bert", "roberta", "electra"])
def test_the_same_as_a_decoder_is_not(name: str) -> None:
    assert not must_be_alone(build_odd(name, is_decoder=True), sequences())


@pytest.mark.parametrize("name", [DYNAMIC, LONGROPE])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_factors_that_follow_the_longest_row(
    name: str, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    model = cast_to(build_odd(name), dtype)
    assert must_be_alone(model, sequences())
    assert "one example at a time" in caplog.text
    # Within the original positions nothing changes, nor where all have the same length.
    assert not must_be_alone(model, sequences((3, 9, 14)))
    assert not must_be_alone(model, sequences((60, 60)))


def test_a_refusal_comes_before_the_scores(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ModelError, match="no causal"):
        score(build_odd("bert"), tiny_tokenizer, {"one": EXAMPLES}, target_modules="all")


WORDS = ["the", "quick", "brown", "fox", "tells", "a", "secret", "to", "lazy", "dog"]
EXAMPLES = [
    Example(" ".join(WORDS[(n + k) % 10] for k in range(1 + 3 * n)), f"fox {n} dog", str(n), "a a")
    for n in range(5)
]


def alone(model: PreTrainedModel) -> PreTrainedModel:
    """A copy that has read nothing yet."""
    return copy.deepcopy(model)


def by_hand(model: PreTrainedModel, examples: list[EncodedExample]) -> dict[str, Tensor]:
    """Mean |W·g| with a fresh copy of the model for each example."""
    matrices = find_matrices(model, "all").matrices
    totals = {matrix.name: torch.zeros(matrix.shape, dtype=torch.float64) for matrix in matrices}
    for example in examples:
        fresh = alone(model)
        labels = [
            t if c else -100 for t, c in zip(example.input_ids, example.loss_mask, strict=True)
        ]
        ids = torch.tensor([example.input_ids])
        fresh(input_ids=ids, labels=torch.tensor([labels])).loss.backward()
        parameters = dict(fresh.named_parameters())
        for matrix in matrices:
            weight = parameters[matrix.parameter]
            assert weight.grad is not None
            totals[matrix.name] += matrix.view(weight.detach() * weight.grad).double().abs()
    return {name: total / len(examples) for name, total in totals.items()}


@pytest.mark.parametrize("name", [DYNAMIC, LONGROPE])
def test_scores_are_those_of_each_example_alone(
    name: str, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = build_odd(name)
    encoder = Encoder(tiny_tokenizer)
    expected = by_hand(model, [encoder.encode(one) for one in EXAMPLES])
    found = score(model, tiny_tokenizer, {"one": EXAMPLES}, target_modules="all", shortlist=1.0)
    for matrix, shortlist in found.dimension("one").items():
        actual = torch.empty(expected[matrix].numel(), dtype=torch.float64)
        actual[shortlist.indices] = shortlist.scores.double()
        largest = float(expected[matrix].max())
        torch.testing.assert_close(
            actual.view_as(expected[matrix]), expected[matrix], rtol=2e-4, atol=1e-5 * largest
        )


@pytest.mark.parametrize("name", [DYNAMIC, LONGROPE])
def test_margins_are_those_of_each_pair_alone(
    name: str, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = build_odd(name)
    encoder = Encoder(tiny_tokenizer)
    rows = margins(model, encoder, "one", EXAMPLES)
    for row, example in zip(rows, EXAMPLES, strict=True):
        encoded = encoder.encode(example)
        with torch.no_grad():
            logits = alone(model)(torch.tensor([encoded.input_ids])).logits[0, :-1]
        chosen = logits.log_softmax(-1)[range(len(encoded) - 1), encoded.input_ids[1:]]
        mask = torch.tensor(encoded.loss_mask[1:])
        assert row.good == pytest.approx(float(chosen[mask].mean()), abs=1e-5)


def test_nothing_of_a_pass_is_left_behind() -> None:
    model = build_odd(DYNAMIC)
    ids = torch.tensor([sequences((20,))[0]])
    longer = torch.tensor([sequences((60,))[0]])
    with torch.no_grad():
        expected = alone(model)(ids).logits
        with evaluation_mode(model):
            model(longer)
            found = model(ids).logits
    assert torch.equal(found, expected)


def test_each_module_gets_its_own_mode_back() -> None:
    model = build_model("llama").train()
    model.get_submodule("model.layers.0").eval()
    before = [module.training for module in model.modules()]
    with evaluation_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_tolerance_is_that_of_the_coarsest_weights() -> None:
    model = build_model("llama")
    assert tolerance(model) == pytest.approx(2**-11.5)
    model.get_submodule("model.layers.0").to(torch.bfloat16)
    assert tolerance(model) == pytest.approx(2**-3.5)


def test_relative_change_is_free_of_scale_and_shift() -> None:
    logits = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    others = logits + 0.1 * (logits - logits.mean(-1, keepdim=True))
    assert relative_change(logits, others) == pytest.approx(0.1)
    assert relative_change(7 * logits + 3, 7 * others + 3) == pytest.approx(0.1, rel=1e-4)
    assert relative_change(logits, logits) == 0


@pytest.mark.parametrize("lengths", [(1,), (2,), (1, 2), (1, 60), (3, 3)])
def test_few_tokens_are_enough(lengths: tuple[int, ...]) -> None:
    assert not must_be_alone(build_model("llama"), sequences(lengths))


@pytest.mark.parametrize("token", [0, 1, 9])
def test_a_sequence_of_one_token_only_shows_what_sees_ahead(token: int) -> None:
    assert probe(build_odd("bert"), [(token,) * 20]).sees_ahead
    assert not probe(build_model("llama"), [(token,) * 20]).sees_ahead


def test_rounding_is_that_of_what_is_computed_in(tiny_llama: PreTrainedModel) -> None:
    before = tolerance(tiny_llama)
    with torch.autocast("cpu", torch.bfloat16):
        assert tolerance(tiny_llama) > 100 * before
    assert tolerance(tiny_llama) == before
