"""Write a checkpoint's files again with other values in some places, and all else as it was.

A causal language model may hold a part of its checkpoint only: the vision tower of a multi-modal
model, the layers that predict further tokens and the adopted names stay in the files. So the
original's files are the mould: each tensor is copied, and where the model in memory has another
value, that value is written.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from declutch.errors import ModelError
from declutch.files import write_json
from declutch.models.stored import StoredCheckpoint
from declutch.progress import log

_NAMED = 6  # groups of names that a message lists
# What belongs to a model beside its weights: configuration, tokenizer, processors, code, licence.
_COMPANIONS = (
    "*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.spm", "*.py", "LICEN[CS]E*",
    "NOTICE*", "USE_POLICY*", "additional_chat_templates/*.jinja",
)  # fmt: skip


def rewrite(
    stored: StoredCheckpoint,
    current: Mapping[str, Tensor],
    folder: Path,
    most_changes: int | None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a stored checkpoint into a folder with the values of the model in memory.

    Args:
        stored: what the model was loaded from.
        current: the model's tensors (:func:`by_stored_name`).
        folder: is made here.
        most_changes: values that may differ between the files and the model; None for any number.
        dtype: write real numbers so; by default each tensor as it was stored.

    Raises:
        ModelError: more values differ.
    """
    folder.mkdir()
    copy_companions(stored, folder)
    changes: dict[int, tuple[int, str]] = {}
    for file in stored.files:
        with safe_open(file, framework="pt") as reader:
            tensors = {
                name: _merged(name, reader.get_tensor(name), current, changes, dtype)
                for name in reader.keys()  # noqa: SIM118 (not a mapping)
            }
            metadata = reader.metadata()
        save_file(tensors, folder / file.name, metadata=metadata or {"format": "pt"})
    total = sum(count for count, _ in changes.values())
    if most_changes is not None and total > most_changes:
        raise ModelError(
            f"The model in memory is not the one in {stored.folder}: {total:,} of its "
            f"values differ from the files and {most_changes:,} were to be changed (most in "
            f"{max(changes.values())[1]}). Load it again and write it as it was loaded."
        )
    if dtype is not None:
        _name_dtype(folder, stored, dtype)
    if others := sorted(stored.tensors.keys() - current.keys()):
        log.info(
            "%d tensors that the causal language model does not use go along as they are: %s",
            len(others), _grouped(others),
        )  # fmt: skip


def _merged(
    name: str,
    source: Tensor,
    current: Mapping[str, Tensor],
    changes: dict[int, tuple[int, str]],
    dtype: torch.dtype | None,
) -> Tensor:
    """A tensor as it is to be written; how many of its values differ is noted in ``changes``."""
    if name not in current:
        return source.to(dtype) if dtype and source.is_floating_point() else source
    held = current[name].detach()
    here = held.cpu()
    known = source.to(here.dtype)
    differs = (here != known) & ~(here.isnan() & known.isnan())
    changes.setdefault(held.data_ptr(), (int(differs.sum()), name))  # a shared weight counts once
    if dtype and source.is_floating_point():
        return here.clone()  # in its dtype; some models keep a few weights wider
    # Value by value: what the model holds in fewer bits is not rounded on disk.
    return torch.where(differs, here.to(source.dtype), source)


def by_stored_name(stored: StoredCheckpoint, model: PreTrainedModel) -> dict[str, Tensor] | None:
    """The model's tensors by their names in the files.

    Returns:
        None where the names can't be matched and the model holds all there is, so that nothing is
        lost when it is written under other names.

    Raises:
        ModelError: the names can't be matched and the files hold more than the model.
    """
    with torch.no_grad():
        tensors = revert_weight_conversion(model, model.state_dict())
    closest: list[str] = list(tensors)
    for rename in _ways(stored, model, tensors):
        names = {name: _found(stored, rename(name), name, one) for name, one in tensors.items()}
        # A shared weight is mostly stored once.
        shared = {_memory(tensors[name]) for name, place in names.items() if place}
        lost = [
            name
            for name, place in names.items()
            if place is None and _memory(tensors[name]) not in shared
        ]
        if not lost:
            return {place: tensors[name] for name, place in names.items() if place}
        closest = min(closest, lost, key=len)
    held = sum({_memory(one): one.numel() for one in tensors.values()}.values())
    if stored.numel <= held:
        return None
    raise ModelError(
        f"{stored.folder} holds {stored.numel:,} numbers, and {type(model).__name__} only "
        f"{held:,} of them, some under names that can't be told in the files "
        f"({', '.join(closest[:3])}{', ...' if closest[3:] else ''}): writing the checkpoint "
        "would lose the rest. Save the model as a causal language model first (transformers: "
        "AutoModelForCausalLM, save_pretrained), and give declutch that."
    )


def _memory(tensor: Tensor) -> tuple[int, int]:
    """Which memory a tensor stands for, also where it has none (on the meta device)."""
    return storage_id(tensor), int(tensor.storage_offset())


def storage_id(tensor: Tensor) -> int:
    """The same for tensors that share a storage."""
    return int(tensor.untyped_storage()._cdata)


def _ways(
    stored: StoredCheckpoint, model: PreTrainedModel, names: Iterable[str]
) -> Iterator[Callable[[str], str]]:
    """How a stored name may follow from the model's: as it is, less or more at the front."""
    yield lambda name: name
    base = f"{model.base_model_prefix}."
    yield lambda name: name.removeprefix(base)
    longest = max(names, key=len)
    for front in sorted(
        {name.removesuffix(longest) for name in stored.tensors if name.endswith(f".{longest}")}
    ):
        yield lambda name, front=front: f"{front}{name}"  # type: ignore[misc]


def _found(stored: StoredCheckpoint, place: str, name: str, tensor: Tensor) -> str | None:
    for candidate in (place, name):
        entry = stored.tensors.get(candidate)
        if entry is not None and entry.shape == tuple(tensor.shape):
            return candidate
    return None


def copy_companions(stored: StoredCheckpoint, folder: Path) -> None:
    """Copy what belongs to a model beside its weights, the index of them among it."""
    for pattern in _COMPANIONS:
        for file in stored.folder.glob(pattern):
            # The index of other weights (of another format) would lead nowhere.
            if file.is_file() and (not file.name.endswith(".index.json") or file == stored.index):
                target = folder / file.relative_to(stored.folder)
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(file, target)


def _name_dtype(folder: Path, stored: StoredCheckpoint, dtype: torch.dtype) -> None:
    """Correct what the configuration and the index say of the width."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write_json(folder / "config.json", _with_dtype(config, str(dtype).removeprefix("torch.")))
    if stored.index is not None:
        path = folder / stored.index.name
        index = json.loads(path.read_text(encoding="utf-8"))
        index["metadata"]["total_size"] = sum(
            prod(tensor.shape) * dtype.itemsize for tensor in stored.tensors.values()
        )
        write_json(path, index)


def _with_dtype(config: dict[str, Any], dtype: str) -> dict[str, Any]:
    """The configuration with its dtype, and that of its parts, replaced."""
    changed: dict[str, Any] = {"dtype": dtype}
    for key, value in config.items():
        if key == "torch_dtype":  # the older name
            continue
        part = isinstance(value, dict) and key.endswith("_config") and key != "quantization_config"
        changed.setdefault(key, _with_dtype(value, dtype) if part else value)
    return changed


def _grouped(names: Iterable[str]) -> str:
    """Names by their first parts, with counts."""
    groups: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        groups[".".join(parts[: 3 if parts[2:] and parts[2].isdigit() else 2])] += 1
    shown = [f"{name} ({count})" for name, count in groups.most_common(_NAMED)]
    return ", ".join([*shown, *(["..."] if len(groups) > _NAMED else [])])
