"""Checkpoints written with a patch, and back: nothing lost, nothing else changed."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from declutch.checkpoint import check_writable, save_patched, write_checkpoint
from declutch.errors import ModelError, PatchMismatch
from declutch.models.loading import LoadedModel, ModelOptions, load_model
from declutch.patching import Patch
from tests.models.checkpoints import (
    SMALL_SHARDS,
    VISION_LANGUAGE,
    tensors_of,
    write_model,
    write_vision_language,
)
from tests.test_patching import make_patch

WIDTHS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(folder: Path, dtype: str = "checkpoint") -> LoadedModel:
    return load_model(folder, ModelOptions(dtype=dtype, device="cpu"))


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> int:
    """Values that differ between two sets of the same tensors, of the same dtypes."""
    assert first.keys() == second.keys()
    assert {k: t.dtype for k, t in first.items()} == {k: t.dtype for k, t in second.items()}
    return sum(int((tensor != second[name]).sum()) for name, tensor in first.items())


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def there_and_back(source: Path, tmp_path: Path, dtype: str) -> tuple[Path, Patch]:
    """Write a patched checkpoint, then the original from it; every file must be as it was."""
    loaded = load(source, dtype)
    patch = make_patch(loaded.model)
    assert save_patched(loaded, patch, tmp_path / "patched") == len(patch)
    assert differing(tensors_of(source), tensors_of(tmp_path / "patched")) == len(patch)
    assert names(tmp_path / "patched") == names(source)
    again = load(tmp_path / "patched", dtype)
    assert patch.verify(again.model) == "patched"
    write_checkpoint(again, patch, tmp_path / "back", "original")
    for name in names(source):
        assert (tmp_path / "back" / name).read_bytes() == (source / name).read_bytes(), name
    return tmp_path / "patched", patch


@pytest.mark.parametrize("shards", [SMALL_SHARDS, "50GB"])
@pytest.mark.parametrize("stored", WIDTHS)
def test_there_and_back(stored: str, shards: str, tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", dtype=WIDTHS[stored], shards=shards)
    assert (source / "model.safetensors.index.json").exists() == (shards == SMALL_SHARDS)
    there_and_back(source, tmp_path, "float32")


@pytest.mark.parametrize("architecture", ["gpt2", "mixtral", "gpt_oss", "phi3"])
def test_other_ways_of_storing(architecture: str, tmp_path: Path) -> None:
    """Turned weights, experts that are stored one by one and held as a stack."""
    source = write_model(tmp_path / "source", architecture, shards=SMALL_SHARDS)
    there_and_back(source, tmp_path, "checkpoint")


def test_names_without_the_front(tmp_path: Path) -> None:
    """As the first GPT-2 checkpoints are."""
    source = write_model(tmp_path / "source", "gpt2")
    rename(source, lambda name: name.removeprefix("transformer."))
    there_and_back(source, tmp_path, "checkpoint")


@pytest.mark.parametrize("architecture", VISION_LANGUAGE)
def test_a_vision_tower_goes_along(
    architecture: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_vision_language(tmp_path / "source", architecture)
    with caplog.at_level(logging.INFO, logger="declutch"):
        patched, patch = there_and_back(source, tmp_path, "checkpoint")
    unused = len(tensors_of(source).keys()) - held(source)
    assert unused > 15
    assert f"{unused} tensors that the causal language model does not use go along" in caplog.text
    assert "vis" in caplog.text
    # It is the same kind of model still, tower and all.
    whole = AutoModelForImageTextToText.from_pretrained(patched, dtype="auto")
    original = AutoModelForImageTextToText.from_pretrained(source, dtype="auto")
    assert differing(whole.state_dict(), original.state_dict()) == len(patch)


def held(source: Path) -> int:
    """Number of tensors of a checkpoint's causal language model, shared ones once."""
    model = AutoModelForCausalLM.from_pretrained(source)
    return len(model.state_dict())


def test_layers_for_further_tokens_go_along(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source")
    tensors = load_file(source / "model.safetensors")
    tensors["mtp.fc.weight"] = torch.randn(8, 4)
    tensors["model.layers.2.eh_proj.weight"] = torch.randn(8, 4, dtype=torch.bfloat16)
    tensors["model.layers.2.count"] = torch.arange(3)
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    patched, _ = there_and_back(source, tmp_path, "checkpoint")
    assert {"mtp.fc.weight", "model.layers.2.count"} <= tensors_of(patched).keys()


def test_a_few_wider_weights_keep_their_bits(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source")
    tensors = load_file(source / "model.safetensors")
    name = "model.layers.0.mlp.down_proj.weight"
    tensors[name] = tensors[name].float() + 1e-6
    tensors["model.norm.weight"] = tensors["model.norm.weight"].float() + 1e-6
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    assert load(source).info.dtype == "bfloat16"
    loaded = load(source)
    patch = make_patch(loaded.model)
    save_patched(loaded, patch, tmp_path / "patched")
    assert differing(tensors_of(source), tensors_of(tmp_path / "patched")) == len(patch)


def rename(folder: Path, new: object) -> None:
    assert callable(new)
    file = folder / "model.safetensors"
    save_file(
        {new(name): tensor for name, tensor in load_file(file).items()},
        file,
        metadata={"format": "pt"},
    )


def test_a_model_changed_in_memory_is_not_written_as_its_files(tmp_path: Path) -> None:
    loaded = load(write_model(tmp_path / "source"))
    with torch.no_grad():
        loaded.model.get_parameter("model.norm.weight")[:] += 1
    patch = make_patch(loaded.model, each=1)
    with pytest.raises(ModelError, match=r"values differ .* first in model\.norm\.weight"):
        write_checkpoint(loaded, patch, tmp_path / "out", "patched")
    assert not (tmp_path / "out").exists()


def test_names_that_can_not_be_told(tmp_path: Path) -> None:
    """Written under other names where all is held; refused, before any work, where not."""
    source = write_model(tmp_path / "source")
    loaded = load(source)
    rename(source, lambda name: f"{name}.renamed")
    known = load_file(source / "model.safetensors")
    assert loaded.stored is not None
    same = LoadedModel(
        loaded.model, loaded.tokenizer, loaded.info, restored(loaded, known.keys())
    )
    patch = make_patch(loaded.model)
    check_writable(same)
    assert write_checkpoint(same, patch, tmp_path / "out", "patched") == len(patch)
    more = LoadedModel(
        loaded.model, loaded.tokenizer, loaded.info,
        restored(loaded, [*known.keys(), "tower.weight"]),
    )  # fmt: skip
    with pytest.raises(ModelError, match="would lose the rest"):
        check_writable(more)
    with pytest.raises(ModelError, match="would lose the rest"):
        write_checkpoint(more, patch, tmp_path / "more", "patched")
