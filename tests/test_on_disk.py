"""Patching files without loading the model: the same bytes as by way of the model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from declutch.checkpoint import write_checkpoint, write_on_disk
from declutch.errors import FileFormatError, ModelError, PatchMismatch, SettingsError
from declutch.models import on_disk
from declutch.models.loading import load_model
from declutch.patching import Patch
from declutch.settings import ModelSettings
from tests.models.checkpoints import (
    SMALL_SHARDS,
    VISION_LANGUAGE,
    write_model,
    write_vision_language,
)
from tests.patching.builders import make_patch
from tests.test_checkpoint import WIDTHS, load, names, rename


def same_files(first: Path, second: Path) -> None:
    assert names(first) == names(second)
    for name in names(first):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def as_through_the_model(source: Path, tmp_path: Path, dtype: str, scale: float = 0.0) -> Patch:
    """Patch and revert on disk, and patch by way of the model; the files must be the same."""
    loaded = load(source, dtype)
    patch = make_patch(loaded.model, scale=scale)
    assert write_on_disk(source, patch, tmp_path / "patched", "patched") == len(patch) > 20
    write_checkpoint(loaded, patch, tmp_path / "loaded", "patched")
    same_files(tmp_path / "patched", tmp_path / "loaded")
    assert write_on_disk(tmp_path / "patched", patch, tmp_path / "back", "original") == len(patch)
    same_files(tmp_path / "back", source)
    return patch


@pytest.mark.parametrize("shards", [SMALL_SHARDS, "50GB"])
@pytest.mark.parametrize(
    ("stored", "used"),
    [("float32", "float32"), ("bfloat16", "bfloat16"), ("bfloat16", "float32"), ("float16",) * 2],
)
def test_there_and_back(stored: str, used: str, shards: str, tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", dtype=WIDTHS[stored], shards=shards)
    as_through_the_model(source, tmp_path, used, scale=0.3)


@pytest.mark.parametrize("architecture", ["gpt2", "mixtral", "gpt_oss", "phi3", "gemma2"])
def test_other_ways_of_storing(architecture: str, tmp_path: Path) -> None:
    """Turned weights, experts stored one by one and held as a stack, a head that is shared."""
    source = write_model(tmp_path / "source", architecture, shards=SMALL_SHARDS)
    as_through_the_model(source, tmp_path, "checkpoint")


def test_names_without_the_front(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", "gpt2")
    rename(source, lambda name: name.removeprefix("transformer."))
    as_through_the_model(source, tmp_path, "checkpoint")


@pytest.mark.parametrize("architecture", VISION_LANGUAGE)
def test_a_vision_tower_goes_along(architecture: str, tmp_path: Path) -> None:
    source = write_vision_language(tmp_path / "source", architecture)
    as_through_the_model(source, tmp_path, "checkpoint")


@pytest.mark.parametrize("used", ["bfloat16", "float32"])
def test_a_few_wider_weights_keep_their_bits(used: str, tmp_path: Path) -> None:
    source = write_model(tmp_path / "source")
    tensors = load_file(source / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"].float() + 1e-6
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt", "who": "me"})
    patch = make_patch(load(source, used).model)
    write_on_disk(source, patch, tmp_path / "patched", "patched")
    write_on_disk(tmp_path / "patched", patch, tmp_path / "back", "original")
    same_files(tmp_path / "back", source)


def test_the_whole_model_is_checked_before_anything_is_written(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source")
    patch = make_patch(load(source).model)
    with pytest.raises(PatchMismatch, match="not applied to this model"):
        write_on_disk(source, patch, tmp_path / "out", "original")
    write_on_disk(source, patch, tmp_path / "patched", "patched")
    with pytest.raises(PatchMismatch, match="applied to this model already"):
        write_on_disk(tmp_path / "patched", patch, tmp_path / "out", "patched")
    tensors = load_file(source / "model.safetensors")
    tensors["model.norm.weight"][3] += 1  # no weight of the patch
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PatchMismatch, match="although the weights of the patch agree"):
        write_on_disk(source, patch, tmp_path / "out", "patched")
    assert names(tmp_path) == ["patched", "source"]


def test_a_shared_weight_stored_twice(tmp_path: Path) -> None:
    """As transformers does: shared where both are alike, and refused where they are not."""
    source = write_model(tmp_path / "source", tie_word_embeddings=True)
    file = source / "model.safetensors"
    tensors = load_file(file)
    assert "lm_head.weight" not in tensors
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, file, metadata={"format": "pt"})
    patch = as_through_the_model(source, tmp_path, "checkpoint")
    tensors["lm_head.weight"][0, 0] += 1
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="stores a shared weight twice"):
        write_on_disk(source, patch, tmp_path / "out", "patched")


def test_what_can_not_be_told_is_refused(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source")
    patch = make_patch(load(source).model)
    rename(source, lambda name: name.replace("up_proj", "other"))
    with pytest.raises(ModelError, match=r"can't be told in the files.*Without --on-disk"):
        write_on_disk(source, patch, tmp_path / "out", "patched")
    assert names(tmp_path) == ["source"]


def test_options_and_widths_that_need_the_model(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", dtype=torch.float32)
    patch = make_patch(load(source, "bfloat16").model)
    with pytest.raises(ModelError, match="without --on-disk and with --dtype bfloat16"):
        write_on_disk(source, patch, tmp_path / "out", "patched")
    with pytest.raises(SettingsError, match="leave out --dtype"):
        write_on_disk(source, patch, tmp_path / "out", "patched", ModelSettings(dtype="bfloat16"))


def test_a_byte_elsewhere_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_model(tmp_path / "source")
    patch = make_patch(load(source).model)
    write = on_disk.WeightsOnDisk.write

    def careless(self: on_disk.WeightsOnDisk, *arguments: object) -> None:
        write(self, *arguments)  # type: ignore[arg-type]
        with self.stored.files[0].open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"!")

    monkeypatch.setattr(on_disk.WeightsOnDisk, "write", careless)
    with pytest.raises(FileFormatError, match="other places than the patch's"):
        write_on_disk(source, patch, tmp_path / "out", "patched")
    assert names(tmp_path) == ["source"]


def test_values_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream gives the fingerprint of the model, however short its pieces are."""
    source = write_model(tmp_path / "source", "mixtral")
    monkeypatch.setattr(on_disk, "_CHUNK", 100)
    monkeypatch.setattr(on_disk, "_BLOCK", 1000)
    weights = on_disk.open_weights(str(source), ModelSettings())
    assert weights.fingerprint({}) == load_model(source).info.fingerprint
