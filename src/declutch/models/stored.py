"""The files of a checkpoint: which there are, what their headers say, and what is wrong with them.

Safetensors only: a pickle (``pytorch_model.bin``) is never opened.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.utils.hub import cached_file, get_checkpoint_shard_files

from declutch.errors import ModelError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16,
}  # fmt: skip
_LFS_MARK = b"version https://git-lfs"
_LFS_MOST = 1024  # bytes; a pointer is about 130


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a checkpoint, as its file's header describes it.

    ``dtype`` is None for what is no real number of a usual width (integers, 8 bits).
    """

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype | None


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint on this machine's disk.

    Attributes:
        folder: holds the configuration, the tokenizer and the like.
        files: the weights.
        index: says which tensor is in which file, where there are several.
        tensors: all of them by name, also those that the causal class does not hold.
    """

    folder: Path
    files: tuple[Path, ...]
    index: Path | None
    tensors: Mapping[str, StoredTensor]

    @cached_property
    def dtype(self) -> torch.dtype | None:
        """The dtype that most of the real numbers are stored in."""
        numbers: Counter[torch.dtype] = Counter()
        for tensor in self.tensors.values():
            if tensor.dtype is not None:
                numbers[tensor.dtype] += prod(tensor.shape)
        return numbers.most_common(1)[0][0] if numbers else None

    @property
    def numel(self) -> int:
        """Numbers in all tensors."""
        return sum(prod(tensor.shape) for tensor in self.tensors.values())


def rounds(stored: torch.dtype | None, held: torch.dtype) -> bool:
    """Whether some values of the stored dtype can't be held in another."""
    return stored is not None and torch.promote_types(stored, held) != held


def stored_checkpoint(reference: str, revision: str | None = None) -> StoredCheckpoint:
    """Find a checkpoint's files, in a folder or on the hub (then they are downloaded).

    Raises:
        ModelError: it has no weights in safetensors, or a file is missing or damaged.
        OSError: the hub can't be reached, or has no such model.
    """
    if os.path.isdir(reference):
        refuse_pointers(Path(reference))
    config = _configuration(reference, revision)
    # transformers would put the adapter on, or leave it out where PEFT is not installed.
    if adapter := _find(reference, "adapter_config.json", revision):
        raise _adapter_error(reference, adapter)
    weights, index = _find(reference, _named_in(config) or WEIGHTS, revision), None
    if weights is not None and weights.name.endswith(".index.json"):
        weights, index = None, weights
    if weights is None and index is None:
        index = _find(reference, INDEX, revision)
    if weights is not None:
        files: tuple[Path, ...] = (weights,)
    elif index is not None:
        files = _shards(reference, index, revision)
    else:
        raise _without_weights(reference, revision)
    tensors = {name: one for file in files for name, one in read_header(file).items()}
    return StoredCheckpoint(config.parent, files, index, tensors)


def read_header(file: Path) -> dict[str, StoredTensor]:
    """What a safetensors file holds, without reading the tensors.

    Raises:
        ModelError: it is missing, cut, or no safetensors file.
    """
    try:
        with safe_open(file, framework="pt") as reader:
            found = {}
            for name in reader.keys():  # noqa: SIM118 (not a mapping)
                view = reader.get_slice(name)
                found[name] = StoredTensor(
                    file, tuple(view.get_shape()), _DTYPES.get(view.get_dtype())
                )
            return found
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{file} is cut or damaged, or not a safetensors file: {error}. Get this file again "
            "and compare its size with the original's."
        ) from error


def refuse_pointers(folder: Path) -> None:
    """Refuse a folder in which files are Git LFS pointers: a few lines in place of the content.

    Raises:
        ModelError: one is.
    """
    pointers = [
        file.name
        for file in sorted(folder.iterdir())
        if file.is_file() and file.stat().st_size <= _LFS_MOST and _is_pointer(file)
    ]
    if pointers:
        raise ModelError(
            f"{folder} was cloned without Git LFS: {', '.join(pointers[:3])}"
            f"{', ...' if pointers[3:] else ''} hold a pointer of a few lines, not the content. "
            "Run «git lfs pull» in that folder, or get the model with: hf download OWNER/NAME"
        )


def _is_pointer(file: Path) -> bool:
    try:
        return file.read_bytes().startswith(_LFS_MARK)
    except OSError:  # whoever needs the file will say that it can't be read
        return False


def _configuration(reference: str, revision: str | None) -> Path:
    """The model's config.json; where there is none, the reason."""
    if os.path.isdir(reference):
        if config := _find(reference, "config.json", revision):
            return config
        if adapter := _find(reference, "adapter_config.json", revision):
            raise _adapter_error(reference, adapter)
        held = ", ".join(sorted(entry.name for entry in Path(reference).iterdir())[:6])
        raise ModelError(
            f"{reference} is a folder without a config.json (it holds {held or 'nothing'}). Give "
            "the folder that transformers' save_pretrained wrote, a hub id, or a .gguf file."
        )
    try:
        return Path(str(cached_file(reference, "config.json", revision=revision)))
    except OSError as error:
        # Where the hub can't be reached another look takes a minute and finds nothing.
        if "connect" in str(error):
            raise
        if adapter := _find(reference, "adapter_config.json", revision):
            raise _adapter_error(reference, adapter) from None
        raise


def _find(reference: str, name: str, revision: str | None) -> Path | None:
    if os.path.isdir(reference):
        path = Path(reference) / name
        return path if path.is_file() else None
    found = cached_file(
        reference, name, revision=revision, _raise_exceptions_for_missing_entries=False
    )
    return Path(found) if found else None


def _named_in(config: Path) -> str | None:
    """The file of weights that a configuration names itself, which is rare."""
    facts = _read(config)
    if not isinstance(facts, dict):
        raise ModelError(f"{config} is no configuration (a JSON object). Get this file again.")
    name = facts.get("transformers_weights")
    # A name that leads out of the folder is left to transformers, which refuses it.
    return name if isinstance(name, str) and Path(name).name == name else None


def _shards(reference: str, index: Path, revision: str | None) -> tuple[Path, ...]:
    facts = _read(index)
    places = facts.get("weight_map") if isinstance(facts, dict) else None
    if not isinstance(places, dict) or not places or not isinstance(facts.get("metadata"), dict):
        raise ModelError(f"{index} has no weight_map and metadata: it is damaged. Get it again.")
    names = {name for name in places.values() if isinstance(name, str)}
    if len(names) < len(set(map(str, places.values()))) or any(
        Path(name).name != name for name in names
    ):
        raise ModelError(f"{index} names files that can't be in its folder. Get it again.")
    found, _ = get_checkpoint_shard_files(reference, str(index), revision=revision)
    files = tuple(Path(file) for file in found)
    if missing := [file.name for file in files if not file.is_file()]:
        raise ModelError(
            f"{reference} is incomplete: {len(missing)} of the {len(files)} files that "
            f"{index.name} names are not there ({', '.join(missing[:3])}"
            f"{', ...' if missing[3:] else ''}). Get them from where the model came from."
        )
    return files


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        first = str(error).split("\n")[0]
        raise ModelError(f"{path} is not valid JSON: {first}. Get this file again.") from error


def _adapter_error(reference: str, config: Path) -> ModelError:
    facts = _read(config)
    base = facts.get("base_model_name_or_path") if isinstance(facts, dict) else None
    of = f" of {base}" if isinstance(base, str) and base else ""
    return ModelError(
        f"{reference} holds an adapter (LoRA and the like){of}, not a model of its own. Merge it "
        "into its model first (PEFT: AutoPeftModelForCausalLM.from_pretrained(...)"
        ".merge_and_unload().save_pretrained(DIR), and the tokenizer too), and give declutch DIR; "
        "«declutch evaluate MODEL --adapter» takes the adapter as it is."
    )


def _without_weights(reference: str, revision: str | None) -> ModelError:
    if any(_find(reference, name, revision) for name in _PICKLES):
        return ModelError(
            f"{reference} has its weights as pickles only (pytorch_model.bin). A pickle can run "
            "code, so declutch reads safetensors alone. If you trust the file, convert it once, "
            "in Python: AutoModelForCausalLM.from_pretrained(MODEL, dtype='auto')"
            ".save_pretrained(DIR) and AutoTokenizer.from_pretrained(MODEL).save_pretrained(DIR); "
            "then give declutch DIR."
        )
    return ModelError(
        f"{reference} has a configuration and no weights: neither {WEIGHTS} nor {INDEX} is there. "
        "Get the whole model."
    )
