"""Checkpoints written with a patch, and back: nothing lost, nothing else changed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from declutch.checkpoint import check_writable, write_checkpoint
from declutch.errors import ModelError, PatchMismatch
from declutch.models.loading import LoadedModel, load_model
from declutch.patching import Patch
from declutch.settings import Dtype, ModelSettings
from tests.models.checkpoints import (
    SMALL_SHARDS,
    VISION_LANGUAGE,
    tensors_of,
    write_model,
    write_vision_language,
)
from tests.patching.builders import make_patch

WIDTHS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(folder: Path, dtype: str = "checkpoint") -> LoadedModel:
    return load_model(folder, ModelSettings(dtype=cast(Dtype, dtype), device="cpu"))


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
    assert write_checkpoint(loaded, patch, tmp_path / "patched", "patched") == len(patch)
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
    write_checkpoint(loaded, patch, tmp_path / "patched", "patched")
    assert differing(tensors_of(source), tensors_of(tmp_path / "patched")) == len(patch)


def rename(folder: Path, new: Callable[[str], str]) -> None:
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
    with pytest.raises(ModelError, match=r"values differ .*most in model\.norm\.weight"):
        write_checkpoint(loaded, patch, tmp_path / "out", "patched")
    assert not (tmp_path / "out").exists()


def test_names_that_can_not_be_told(tmp_path: Path) -> None:
    """Written under other names where all is held; refused, before any work, where not."""
    loaded = load(write_model(tmp_path / "source"))
    assert loaded.stored
    patch = make_patch(loaded.model)
    tensors = {f"{name}.renamed": tensor for name, tensor in loaded.stored.tensors.items()}
    same = replace(loaded, stored=replace(loaded.stored, tensors=tensors))
    check_writable(same)
    assert write_checkpoint(same, patch, tmp_path / "out", "patched") == len(patch)
    tensors["tower.weight"] = next(iter(tensors.values()))
    more = replace(loaded, stored=replace(loaded.stored, tensors=tensors))
    with pytest.raises(ModelError, match="would lose the rest"):
        check_writable(more)
    with pytest.raises(ModelError, match="would lose the rest"):
        write_checkpoint(more, patch, tmp_path / "more", "patched")
    assert names(tmp_path) == ["out", "source"]


@pytest.mark.parametrize("named", [None, "float16"])
def test_the_dtype_is_that_of_the_files(named: str | None, tmp_path: Path) -> None:
    """Whatever the configuration says, or does not say."""
    source = write_model(tmp_path / "source", shards=SMALL_SHARDS)
    config = json.loads((source / "config.json").read_text())
    config["dtype"] = named
    (source / "config.json").write_text(json.dumps(config))
    assert load(source).info.dtype == "bfloat16"
    there_and_back(source, tmp_path, "auto")


@pytest.mark.parametrize(
    ("stored", "used"),
    [("float32", "bfloat16"), ("float32", "float16"), ("bfloat16", "float16")],
)
def test_a_rounded_model_is_announced_and_written_as_it_was_used(
    stored: str, used: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_model(tmp_path / "source", dtype=WIDTHS[stored], shards=SMALL_SHARDS)
    loaded = load(source, used)
    with caplog.at_level(logging.WARNING, logger="declutch"):
        check_writable(loaded)
    assert f"is in {stored} and is used in {used}, which rounds its weights" in caplog.text
    patch = make_patch(loaded.model)
    assert write_checkpoint(loaded, patch, tmp_path / "out", "patched") == len(patch)
    again = load(tmp_path / "out")
    assert again.info.dtype == used
    assert patch.verify(again.model) == "patched"
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == used
    # The patch does not fit the original in its own dtype, and the message says why.
    with pytest.raises(PatchMismatch, match=f"add --dtype {used}"):
        write_checkpoint(load(source), patch, tmp_path / "other", "patched")


@pytest.mark.parametrize(("stored", "used"), [("bfloat16", "float32"), ("float16", "float32")])
def test_a_widened_model_is_not_announced(
    stored: str, used: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = load(write_model(tmp_path / "source", dtype=WIDTHS[stored]), used)
    caplog.clear()  # another test may have asked for more than warnings
    with caplog.at_level(logging.WARNING, logger="declutch"):
        check_writable(loaded)
    assert not caplog.text


def test_a_dtype_that_was_asked_for_is_written(tmp_path: Path) -> None:
    """Also the tensors that go along, and the configurations of both parts."""
    source = write_vision_language(tmp_path / "source", "qwen3_5")
    loaded = load(source, "float32")
    patch = make_patch(loaded.model)
    write_checkpoint(loaded, patch, tmp_path / "out", "patched", dtype="float32")
    tensors = tensors_of(tmp_path / "out")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["dtype"] == config["text_config"]["dtype"] == "float32"
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    size = sum(tensor.nbytes for tensor in tensors.values())
    assert index["metadata"]["total_size"] == size
    assert patch.verify(load(tmp_path / "out").model) == "patched"


@pytest.mark.parametrize("scale", [0.5, -1.0])
def test_scales_are_rounded_once(scale: float, tmp_path: Path) -> None:
    """Scored in float32, written in bfloat16: as if applied to the bfloat16 model."""
    source = write_model(tmp_path / "source")
    wide, narrow = load(source, "float32"), load(source)
    patch = make_patch(wide.model, scale=scale)
    write_checkpoint(wide, patch, tmp_path / "wide", "patched")
    write_checkpoint(narrow, patch, tmp_path / "narrow", "patched")
    assert differing(tensors_of(tmp_path / "wide"), tensors_of(tmp_path / "narrow")) == 0


def test_everybody_may_read_the_files(tmp_path: Path) -> None:
    loaded = load(write_model(tmp_path / "source"))
    write_checkpoint(loaded, make_patch(loaded.model), tmp_path / "out", "patched")
    new = tmp_path / "new"
    new.write_text("")
    modes = {file.stat().st_mode for file in (tmp_path / "out").iterdir()}
    assert modes == {new.stat().st_mode}


def test_companions_and_other_formats(tmp_path: Path) -> None:
    """Licence and code go along; pickles, their index and the original's card don't."""
    source = write_model(tmp_path / "source")
    along = ("LICENSE", "NOTICE.txt", "tokenizer.model", "modeling_own.py", "processor_config.json")
    left = ("README.md", "pytorch_model.bin", "pytorch_model.bin.index.json", "x.gguf")
    for name in (*along, *left):
        (source / name).write_text("{}")
    loaded = load(source)
    write_checkpoint(loaded, make_patch(loaded.model), tmp_path / "out", "patched")
    assert set(along) <= set(names(tmp_path / "out"))
    assert not set(left) & set(names(tmp_path / "out"))
