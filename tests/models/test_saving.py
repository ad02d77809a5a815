"""Checkpoints: what is written is read back, and what goes along."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from declutch.errors import FileFormatError, SettingsError
from declutch.models.fingerprint import fingerprint
from declutch.models.loading import load_model
from declutch.models.matrices import find_matrices
from declutch.models.saving import check_on_disk, save_checkpoint
from declutch.settings import ModelSettings
from tests.conftest import CHAT_TEMPLATE, build_model, build_tokenizer
from tests.models.widths import in_dtype

Expected = dict[str, tuple[Tensor, Tensor]]


def expected_of(model: PreTrainedModel, target: str = "all") -> Expected:
    """Every eleventh value of every matrix."""
    parameters = dict(model.named_parameters())
    expected = {}
    for matrix in find_matrices(model, target).matrices:
        indices = torch.arange(0, matrix.numel, 11)
        view = matrix.view(parameters[matrix.parameter].detach())
        expected[matrix.name] = (indices, view.reshape(-1)[indices].clone())
    return expected


def count(expected: Expected) -> int:
    return sum(len(indices) for indices, _ in expected.values())


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "phi3", "mixtral", "gpt_oss"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_and_read_back(architecture: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = in_dtype(build_model(architecture), dtype)
    expected = expected_of(model)
    checked = save_checkpoint(tmp_path / "out", model, build_tokenizer(), expected)
    assert checked == count(expected) > 100
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert again.dtype == dtype
    assert fingerprint(again) == fingerprint(model)


def test_mixtral_is_stored_under_other_names(tmp_path: Path) -> None:
    """So that the test above goes the way over loading it again."""
    model = build_model("mixtral")
    save_checkpoint(tmp_path / "out", model, build_tokenizer(), {})
    stored = load_file(tmp_path / "out" / "model.safetensors").keys()
    assert not any("gate_up_proj" in name for name in stored)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mixtral"])
def test_a_tampered_file_is_found(architecture: str, tmp_path: Path) -> None:
    model = build_model(architecture)
    expected = expected_of(model, "mlp")
    save_checkpoint(tmp_path / "out", model, build_tokenizer(), expected)
    assert check_on_disk(tmp_path / "out", model, expected) == count(expected)
    file = tmp_path / "out" / "model.safetensors"
    tensors = load_file(file)
    name = next(key for key in tensors if "layers.1." in key or ".h.1.mlp.c_fc.weight" in key)
    name = next((key for key in tensors if "layers.1" in key and "w2" in key), name)
    name = next((key for key in tensors if "layers.1.mlp.down" in key), name)
    tensors[name].view(-1)[0] += 1.0
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(FileFormatError, match=r"1 of \d+ values of .*differ on disk"):
        check_on_disk(tmp_path / "out", model, expected)


def test_a_damaged_file_is_found(tmp_path: Path) -> None:
    model = build_model("llama")
    expected = expected_of(model)
    save_checkpoint(tmp_path / "out", model, build_tokenizer(), expected)
    with (tmp_path / "out" / "model.safetensors").open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(FileFormatError, match="is damaged"):
        check_on_disk(tmp_path / "out", model, expected)


def test_a_wrong_checkpoint_leaves_nothing_behind(tmp_path: Path) -> None:
    model = build_model("llama")
    expected = expected_of(model)
    name = next(iter(expected))
    expected[name][1][3] += 1.0
    with pytest.raises(FileFormatError, match=rf"1 of \d+ values of {name}"):
        save_checkpoint(tmp_path / "out", model, build_tokenizer(), expected)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused_and_an_empty_one_taken(tmp_path: Path) -> None:
    model, tokenizer = build_model("llama"), build_tokenizer()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    (tmp_path / "file").write_text("keep")
    for name in ("full", "file"):
        with pytest.raises(SettingsError, match="exists and is not empty"):
            save_checkpoint(tmp_path / name, model, tokenizer, {})
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep"
    (tmp_path / "empty").mkdir()
    save_checkpoint(tmp_path / "empty", model, tokenizer, {})
    assert (tmp_path / "empty" / "config.json").is_file()


def test_what_goes_along(tmp_path: Path) -> None:
    """Template, generation config and licence, also a generation config that sampling ignores.

    Llama 2 and Vicuna come with a temperature and without sampling.
    """
    source = tmp_path / "source"
    build_model("llama").save_pretrained(source)
    build_tokenizer().save_pretrained(source)
    (source / "LICENSE").write_text("Have it.")
    settings = {"do_sample": False, "temperature": 0.6, "top_p": 0.9, "max_length": 77}
    (source / "generation_config.json").write_text(json.dumps(settings))
    loaded = load_model(source, ModelSettings(device="cpu"))
    out = tmp_path / "out"
    save_checkpoint(out, loaded.model, loaded.tokenizer, {}, loaded.stored)
    again = AutoTokenizer.from_pretrained(out)
    assert again.chat_template == CHAT_TEMPLATE
    assert again("the dog")["input_ids"] == loaded.tokenizer("the dog")["input_ids"]
    assert (out / "LICENSE").read_text() == "Have it."
    kept = json.loads((out / "generation_config.json").read_text())
    assert {key: kept.get(key, False) for key in settings} == settings
