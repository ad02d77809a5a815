"""Patches on disk, and in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from declutch.errors import FileFormatError
from declutch.models.matrices import find_matrices
from declutch.patching import Patch
from tests.conftest import build_model
from tests.models.widths import in_dtype
from tests.patching.builders import (
    DTYPES,
    bits,
    make_patch,
    same_bits,
)


@pytest.mark.parametrize("dtype", DTYPES)
def test_save_and_load(dtype: torch.dtype, tmp_path: Path) -> None:
    model = in_dtype(build_model("mixtral"), dtype)
    patch = make_patch(
        model, 0.25, scores={"settings": {"shape": (1, 2), "seed": 0}}, notes=("A note.",)
    )
    assert patch.save(tmp_path / "patch") == tmp_path / "patch"
    assert sorted(one.name for one in (tmp_path / "patch").iterdir()) == [
        "patch.json", "patch.safetensors",
    ]  # fmt: skip
    loaded = Patch.load(tmp_path / "patch")
    assert loaded.info.model_dump(mode="json") == patch.info.model_dump(mode="json")
    assert list(loaded.indices) == sorted(patch.indices)
    for name, indices in patch.indices.items():
        assert torch.equal(loaded.indices[name], indices)
        assert loaded.original[name].dtype == dtype
        assert torch.equal(loaded.original[name], patch.original[name])
    before = bits(model)
    loaded.apply(model)
    patch.revert(model)
    assert same_bits(model, before)


def edit_json(folder: Path, **changes: Any) -> None:
    path = folder / "patch.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes",
    [{"scale": 0.5}, {"rule": "union"}, {"ratio": 1e-3}, {"coupled": ["a", "b"]}, {"seed": 1},
     {"checksum": "0" * 64}],
)  # fmt: skip
def test_changed_facts_are_found(
    changes: dict[str, Any], llama: PreTrainedModel, tmp_path: Path
) -> None:
    make_patch(llama).save(tmp_path)
    edit_json(tmp_path, **changes)
    with pytest.raises(FileFormatError, match="checksum differs"):
        Patch.load(tmp_path)


def test_changed_shapes_and_fingerprint_are_found(llama: PreTrainedModel, tmp_path: Path) -> None:
    patch = make_patch(llama)
    facts = json.loads((patch.save(tmp_path) / "patch.json").read_text())
    matrices = dict(facts["matrices"])
    matrices.popitem()
    model = {**facts["model"], "fingerprint": "0" * 64}
    for changes in ({"matrices": matrices}, {"model": model}):
        patch.save(tmp_path, overwrite=True)
        edit_json(tmp_path, **changes)
        with pytest.raises(FileFormatError, match=r"checksum differs|says nothing of"):
            Patch.load(tmp_path)


def test_what_may_be_worded_anew(llama: PreTrainedModel, tmp_path: Path) -> None:
    make_patch(llama, notes=("Old.",)).save(tmp_path)
    edit_json(tmp_path, notes=["New."], versions={"declutch": "9"})
    assert Patch.load(tmp_path).info.notes == ("New.",)


@pytest.mark.parametrize("key", ["indices", "original"])
def test_changed_tensors_are_found(key: str, llama: PreTrainedModel, tmp_path: Path) -> None:
    make_patch(llama).save(tmp_path)
    tensors = load_file(tmp_path / "patch.safetensors")
    name = f"model.layers.0.mlp.up_proj/{key}"
    tensors[name][1] += 1
    save_file(tensors, tmp_path / "patch.safetensors")
    with pytest.raises(FileFormatError, match="checksum differs"):
        Patch.load(tmp_path)
    del tensors[name]
    save_file(tensors, tmp_path / "patch.safetensors")
    with pytest.raises(FileFormatError, match=r"has no tensor|checksum differs"):
        Patch.load(tmp_path)


def test_a_pair_that_does_not_match(llama: PreTrainedModel, tmp_path: Path) -> None:
    first = make_patch(llama, seed=1).save(tmp_path / "a")
    second = make_patch(llama, seed=2).save(tmp_path / "b")
    shutil.copy(first / "patch.json", second / "patch.json")
    with pytest.raises(FileFormatError, match=r"does not belong to the patch\.json beside it"):
        Patch.load(second)


@pytest.mark.parametrize("size", [0, 5, 100, -10])
def test_damaged_tensors(size: int, llama: PreTrainedModel, tmp_path: Path) -> None:
    make_patch(llama).save(tmp_path)
    path = tmp_path / "patch.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(FileFormatError, match=r"patch\.safetensors is missing or damaged"):
        Patch.load(tmp_path)


def test_missing_and_damaged_files(llama: PreTrainedModel, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"patch\.json does not exist"):
        Patch.load(tmp_path / "gone")
    make_patch(llama).save(tmp_path)
    edit_json(tmp_path, format_version=2)
    with pytest.raises(FileFormatError, match="format_version 2; this declutch reads 1"):
        Patch.load(tmp_path)
    edit_json(tmp_path, format_version=1, surprise=1)
    with pytest.raises(FileFormatError, match="surprise"):
        Patch.load(tmp_path)
    (tmp_path / "patch.json").write_text("{")
    with pytest.raises(FileFormatError, match="not valid JSON"):
        Patch.load(tmp_path)
    make_patch(llama).save(tmp_path, overwrite=True)
    (tmp_path / "patch.safetensors").unlink()
    with pytest.raises(FileFormatError, match="does not exist"):
        Patch.load(tmp_path)


def test_no_pickle(llama: PreTrainedModel, tmp_path: Path) -> None:
    path = make_patch(llama).save(tmp_path) / "patch.safetensors"
    length = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + length])
    assert header["model.layers.0.mlp.up_proj/indices"]["dtype"] == "I64"
    assert header["model.layers.0.mlp.up_proj/original"]["dtype"] == "F32"


def test_summary(llama: PreTrainedModel) -> None:
    patch = make_patch(llama, only="layers.1.mlp", notes=("A note.",))
    total = patch.numel
    assert total == find_matrices(llama, "all").numel
    assert patch.summary().split("\n") == [
        f"15 of {total:,} weights ({15 / total:.1e}) in 3 of 14 matrices of me/mine",
        "important for fairness and privacy, less general; rule coupled, ratio 0.0001 of each "
        "matrix, target all; multiplied by 0",
        "  layer 1: 15 (gate_proj 5, up_proj 5, down_proj 5)",
        "note: A note.",
    ]
    assert sum(patch.counts.values()) == len(patch) == 15
    assert patch.counts["model.layers.0.mlp.up_proj"] == 0


@pytest.mark.parametrize(
    ("key", "change", "said"),
    [
        ("indices", lambda t: t.to(torch.int32), "must be int64"),
        ("indices", lambda t: t.float(), "must be int64"),
        ("indices", lambda t: t.flip(0), "not ascending"),
        ("indices", lambda t: t - 10**6, "not within"),
        ("indices", lambda t: t + 10**12, "not within"),
        ("indices", lambda t: t[None], "positions for"),
        ("original", lambda t: t[:-1], "positions for"),
        ("original", lambda t: t.to(torch.uint8), "torch.uint8, which no model"),
        ("original", lambda t: t.to(torch.complex64), "torch.complex64, which no model"),
    ],
)
def test_tensors_that_no_patch_has(
    key: str, change: Any, said: str, llama: PreTrainedModel, tmp_path: Path
) -> None:
    path = make_patch(llama).save(tmp_path) / "patch.safetensors"
    tensors = load_file(path)
    name = f"model.layers.0.mlp.up_proj/{key}"
    save_file({**tensors, name: change(tensors[name]).contiguous()}, path)
    with pytest.raises(FileFormatError, match=said):
        Patch.load(tmp_path)
