"""Loading a model: folders, GGUF files, dtypes, and what is refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from declutch.errors import ModelError, SettingsError
from declutch.models.fingerprint import fingerprint
from declutch.models.loading import load_model
from declutch.settings import Dtype, ModelSettings
from tests.conftest import build_model, build_tokenizer
from tests.models.checkpoints import write_gguf
from tests.models.widths import in_dtype

CPU = ModelSettings(device="cpu")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    in_dtype(build_model("llama"), torch.bfloat16).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


def test_a_folder(checkpoint: Path) -> None:
    loaded = load_model(checkpoint, CPU)
    assert loaded.info.id == str(checkpoint)
    assert loaded.info.fingerprint == fingerprint(in_dtype(build_model("llama"), torch.bfloat16))
    assert not loaded.model.training
    assert loaded.tokenizer.chat_template


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("auto", torch.float32),  # on a CPU half precision is slow
        ("checkpoint", torch.bfloat16),
        ("float32", torch.float32),
        ("bfloat16", torch.bfloat16),
        ("float16", torch.float16),
    ],
)
def test_dtypes(checkpoint: Path, dtype: Dtype, expected: torch.dtype) -> None:
    loaded = load_model(checkpoint, ModelSettings(dtype=dtype, device="cpu"))
    assert loaded.model.dtype == expected
    assert loaded.info.dtype == str(expected).removeprefix("torch.")


def test_auto_with_a_device_map_on_the_cpu(checkpoint: Path) -> None:
    assert load_model(checkpoint, ModelSettings(device_map="cpu")).model.dtype == torch.float32


def test_wrong_options(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="--dtype «int8» is unknown; give auto"):
        load_model(checkpoint, ModelSettings(dtype="int8"))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="not both"):
        load_model(checkpoint, ModelSettings(device="cpu", device_map="auto"))
    with pytest.raises(ModelError, match="could not be loaded"):
        load_model(checkpoint, ModelSettings(device_map="everywhere"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="no CUDA device"):
        load_model(checkpoint, ModelSettings(device="cuda:1"))


def test_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ModelError, match=r"without a config\.json \(it holds notes\.txt\)"):
        load_model(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(ModelError, match="it holds nothing"):
        load_model(tmp_path / "none")
    for missing in (tmp_path / "gone", "./gone", "~/gone", "a/b/c", tmp_path / "notes.txt"):
        with pytest.raises(ModelError, match=r"is not a model.*«demo»"):
            load_model(missing)
    with pytest.raises(ModelError, match=r"GGUF file \./gone\.gguf does not exist"):
        load_model("./gone.gguf")


def test_a_configuration_without_sense(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json is not valid JSON"):
        load_model(checkpoint, CPU)


def test_another_kind_of_model(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(ModelError, match="could not be loaded as a causal language model"):
        load_model(checkpoint, CPU)


def test_missing_weights_are_not_made_up(checkpoint: Path) -> None:
    """transformers would fill them at random, with a warning."""
    file = checkpoint / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.0.mlp.down_proj.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"incomplete: 1 weights .*layers\.0\.mlp\.down_proj"):
        load_model(checkpoint, CPU)


def test_a_gguf_file(tmp_path: Path) -> None:
    tensors = write_gguf(tmp_path / "tiny.gguf")
    loaded = load_model(tmp_path / "tiny.gguf", CPU)
    weight = loaded.model.get_parameter("model.layers.1.mlp.down_proj.weight")
    np.testing.assert_array_equal(weight.detach().numpy(), tensors["blk.1.ffn_down"])
    assert loaded.info.dtype == "float32"
    # transformers refuses to save a model that it holds for quantised.
    loaded.model.save_pretrained(tmp_path / "out")
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())
    assert load_model(tmp_path / "tiny.gguf", CPU).info.fingerprint == loaded.info.fingerprint


def test_it_says_what_it_loads(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="declutch"):
        load_model(checkpoint, CPU)
    assert f"Loading {checkpoint}" in caplog.text
