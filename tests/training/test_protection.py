"""Protected weights: the same bits after any training, and a model that was trained around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

import declutch
from declutch.data.encoding import Encoder
from declutch.data.loading import load_examples
from declutch.errors import PatchMismatch, SettingsError
from declutch.models.loading import LoadedModel, load_model
from declutch.patching import Patch
from declutch.settings import ModelSettings, TrainSettings
from declutch.training.adapters import with_adapter
from declutch.training.method import get_training
from declutch.training.protection import Protection, held
from declutch.training.train import train
from declutch.training.trainer import labelled
from tests.conftest import build_model, build_tokenizer
from tests.patching.builders import make_patch
from tests.training.conftest import Train, raw_bits, same_weights


def at_places(model: PreTrainedModel, patch: Patch) -> list[Tensor]:
    """The bits of a patch's weights."""
    places = Protection(dict(patch.indices), dict(patch.original)).places(model)
    return [raw_bits(one.view[one.rows, one.columns]) for one in places]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def folder_of(architecture: str, tmp_path: Path) -> Path:
    positions = "n_positions" if architecture == "gpt2" else "max_position_embeddings"
    build_model(architecture, **{positions: 512}).save_pretrained(tmp_path / architecture)
    build_tokenizer().save_pretrained(tmp_path / architecture)
    return tmp_path / architecture


CASES = [
    ("llama", "full"), ("gpt2", "full"), ("mixtral", "full"),
    ("llama", "lora"), ("llama", "dora"), ("gpt2", "lora"),
]  # fmt: skip


@pytest.mark.parametrize(("architecture", "method"), CASES)
@pytest.mark.parametrize("value", ["keep", "zero"])
def test_the_same_bits_whatever_the_optimizer_does(
    architecture: str, method: str, value: str, data: dict[str, str], tmp_path: Path
) -> None:
    """In memory, on disk, and with the adapter put on again."""
    folder = folder_of(architecture, tmp_path)
    before = load_model(folder).model
    patch = make_patch(before)
    expected = at_places(before, patch)
    if value == "zero":
        expected = [torch.zeros_like(one) for one in expected]

    def run(out: str, **options: Any) -> LoadedModel:
        return train(
            folder, data, out=tmp_path / out, method=method, num_samples=4, batch_size=2,
            learning_rate=0.05, weight_decay=0.5, epochs=2, merge=method != "full", **options,
        ).loaded  # fmt: skip

    held_still = run("held", protect=patch, protect_value=value)
    assert same(at_places(held_still.model, patch), expected)
    written = load_model(tmp_path / "held" / "model").model
    assert same(at_places(written, patch), expected)
    assert same_weights(written, held_still.model)
    if method != "full":
        again = with_adapter(load_model(folder), tmp_path / "held")
        assert same_weights(again.model, held_still.model)
    # Left to itself the training moves them, and all others move here too.
    moved = run("moved")
    places = zip(at_places(moved.model, patch), at_places(before, patch), strict=True)
    assert not any(torch.equal(one, other) for one, other in places)
    first = Protection(dict(patch.indices), dict(patch.original)).places(before)[0]
    other = dict(held_still.model.named_parameters())[first.matrix.parameter]
    assert (other != first.parameter).float().mean() > 0.9


def test_momentum_and_decay_have_no_say(data: dict[str, str]) -> None:
    """Also of an optimizer with momentum from before, step by step."""
    model = build_model("llama", max_position_embeddings=512).train()
    patch = make_patch(model)
    examples = load_examples(data["privacy"], num_samples=4).examples
    batch = labelled([Encoder(build_tokenizer()).encode(one) for one in examples])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)

    def step() -> None:
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()

    step()
    places = Protection(dict(patch.indices), dict(patch.original)).places(model)
    protection = Protection(
        dict(patch.indices),
        {one.matrix.name: one.view[one.rows, one.columns].clone() for one in places},
    )
    places = protection.places(model)
    before = at_places(model, patch)
    nothing: Any = (None, None, None)
    with held(places, model) as (callback,):
        for _ in range(3):
            step()
            for one in places:
                assert one.parameter.grad is not None
                gradient = one.matrix.view(one.parameter.grad)
                assert not gradient[one.rows, one.columns].any()
                assert gradient.any()
            assert not same(at_places(model, patch), before)  # momentum has moved them
            callback.on_optimizer_step(*nothing)
            assert same(at_places(model, patch), before)
    step()
    assert not same(at_places(model, patch), before)  # and they are free again


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_an_adapter_trains_the_model_that_it_becomes(architecture: str, method: str) -> None:
    """With the adapter beside the weights the logits are those of the merged, protected model."""
    model = build_model(architecture)
    patch = make_patch(model, each=20)
    protection = Protection.of(patch, model, "keep")
    places = protection.places(model)
    training = get_training(TrainSettings(method=method))
    adapted = training.attach(model)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    ids = torch.randint(0, 320, (2, 9))
    with torch.no_grad():
        free = adapted(input_ids=ids).logits
        with held(places, adapted):
            around = adapted(input_ids=ids).logits
        merged = training.used(adapted)
        assert torch.allclose(merged(input_ids=ids).logits, free, atol=1e-4)
        protection.write(merged)
        assert torch.allclose(merged(input_ids=ids).logits, around, atol=1e-4)
    assert not torch.allclose(free, around, atol=1e-2)


def test_what_is_coupled_can_be_found_first(
    trained: Train, model_folder: Path, data: dict[str, str], tmp_path: Path
) -> None:
    options = {"method": "full", "protect_ratio": 0.01, "couple": data, "weight_decay": 0.5}
    found = trained(**options)
    patch = Patch.load(tmp_path / "out" / "protected")
    assert len(patch) > 10
    assert found.record.protected is not None
    assert found.record.protected.weights == len(patch)
    before = load_model(model_folder).model
    assert same(at_places(found.loaded.model, patch), at_places(before, patch))
    assert same_weights(trained(**options).loaded.model, found.loaded.model)
    scores = declutch.Scores.load(tmp_path / "out" / "scores")
    assert declutch.locate(scores, ["fairness", "privacy"], ratio=0.01) == patch


def test_bad_input(trained: Train, data: dict[str, str], tmp_path: Path) -> None:
    patch = make_patch(build_model("llama", seed=3))
    for options, said in (
        ({"couple": data}, "--protect-ratio is missing"),
        ({"protect": patch, "protect_ratio": 0.1}, "to find one; not both"),
        ({"protect_ratio": 0.1}, "Two or more dimensions are coupled"),
        ({"protect_ratio": 5e-7, "couple": data}, "Nothing would be selected"),
    ):
        with pytest.raises(SettingsError, match=said):
            trained(**options)
    with pytest.raises(PatchMismatch, match="of another model"):
        trained("other", protect=patch)


def test_dropout_of_an_adapter_is_refused(
    trained: Train, model_folder: Path, tmp_path: Path
) -> None:
    patch = make_patch(load_model(model_folder).model)
    with pytest.raises(SettingsError, match="--dropout of an adapter does not go with protected"):
        trained(protect=patch, dropout=0.1)


@pytest.mark.parametrize("method", ["full", "dora"])
def test_narrow_weights_are_held_too(method: str, trained: Train, model_folder: Path) -> None:
    """In bfloat16, computed in bfloat16."""
    load = ModelSettings(dtype="bfloat16")
    before = load_model(model_folder, load).model
    patch = make_patch(before)
    found = trained(
        method=method, load=load, bf16=True, protect=patch, learning_rate=0.05, weight_decay=0.5
    )
    assert found.loaded.model.dtype == torch.bfloat16
    assert same(at_places(found.loaded.model, patch), at_places(before, patch))
    assert not same_weights(found.loaded.model, before)
