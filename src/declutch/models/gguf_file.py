"""Change weights in a GGUF file where its quantisation holds the new values exactly.

A quantised block holds some bits for each weight and some for all of them. Which are which, and
what they mean, is asked of the ``gguf`` package, of any quantisation that it can read: the bits
whose flipping changes one weight alone are that weight's, and each of their settings is tried.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_gguf_pytorch_utils import (
    TENSOR_PROCESSORS,
    TensorProcessor,
    get_gguf_hf_weights_map,
    load_gguf_checkpoint,
)
from transformers.utils.hub import cached_file

from declutch.errors import FileFormatError, ModelError
from declutch.extras import require
from declutch.models.loading import find_source
from declutch.models.matrices import WeightMatrix
from declutch.models.on_disk import compare_files
from declutch.progress import track
from declutch.settings import ModelSettings

_TRIALS = 8  # blocks of random bytes on which flips are tried
_MOST_BITS = 8  # of one weight: 256 settings to try
_REMEDY = (
    "Write a safetensors checkpoint in its place (-o FOLDER, which holds any value), and convert "
    "and quantise that with llama.cpp, to Q8_0 for example, where zero is exact."
)

Changes = Mapping[WeightMatrix, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class _Place:
    """Where a matrix is in a file.

    Attributes:
        tensor: its name there.
        order: for each flat position in the model's parameter, the one in the file's tensor.
    """

    tensor: str
    order: NDArray[np.int64]


def gguf_path(reference: str, options: ModelSettings) -> Path:
    """The file, which is downloaded where it is on the hub.

    Raises:
        ModelError: it is no GGUF file.
    """
    where, arguments = find_source(reference, options)
    if "gguf_file" not in arguments:
        raise ModelError(f"{reference} is no .gguf file: give -o a folder, not a file.")
    file: str = arguments["gguf_file"]
    if os.path.isdir(where):
        return Path(where) / file
    return Path(str(cached_file(where, file, revision=arguments["revision"])))


def rewrite_gguf(source: Path, model: PreTrainedModel, changes: Changes, target: Path) -> None:
    """Write a GGUF file with other values at some places, and read it back.

    Args:
        source: what the model was loaded from.
        model: the model as it is in the file.
        changes: by matrix, flat positions in its ``[out, in]`` view and the values wanted there.
        target: is made.

    Raises:
        ModelError: a matrix can't be told in the file, or a value can't be held there.
        FileFormatError: what was read back is not what was to be written.
    """
    gguf: Any = require("gguf", extra="gguf", why="writing a GGUF file")
    places = _places(source, model, changes)
    shutil.copyfile(source, target)
    reader = gguf.GGUFReader(target, "r+")
    tensors = {one.name: one for one in reader.tensors}
    refused: Counter[str] = Counter()
    touched: list[NDArray[np.int64]] = []
    for matrix, (indices, values) in track(changes.items(), "Writing blocks", len(changes)):
        tensor = tensors[places[matrix].tensor]
        kind = tensor.tensor_type
        size, width = gguf.GGML_QUANT_SIZES[kind]
        blocks = tensor.data.view(np.uint8).reshape(-1, width)
        at = places[matrix].order[matrix.storage_index(indices).numpy()]
        for place, value in zip(at, values.float().numpy(), strict=True):
            number, within = divmod(int(place), size)
            block = _with_value(blocks[number], kind, within, value)
            if block is None:
                refused[kind.name] += 1
            else:
                blocks[number] = block
        begins = int(tensor.data_offset) + np.unique(at // size) * width
        touched.append(np.add.outer(begins, np.arange(width)).ravel())
    if refused:
        total = sum(len(indices) for indices, _ in changes.values())
        kinds = ", ".join(f"{count:,} in {name}" for name, count in refused.most_common())
        raise ModelError(
            f"{source} can't hold the patch exactly: {sum(refused.values()):,} of its {total:,} "
            f"weights ({kinds}) would get another value, since no step of their block's "
            f"quantisation is the value wanted. {_REMEDY}"
        )
    reader.data.flush()
    _check(source, target, places, changes)
    compare_files(source, target, np.concatenate([np.empty(0, np.int64), *touched]))


def _with_value(block: NDArray[np.uint8], kind: Any, within: int, value: Any) -> Any:
    """A block with one weight changed and the others as they were; None where there is none."""
    import gguf

    before = gguf.dequantize(block, kind).ravel()
    if before[within] == value:
        return block
    wanted = before.copy()
    wanted[within] = value
    if len(before) == 1:
        tried = gguf.quantize(wanted, kind).view(np.uint8).reshape(1, -1)
    else:
        bits = np.unpackbits(block)
        own = _own_bits(kind)[within]
        if not 0 < len(own) <= _MOST_BITS:
            return None
        settings = np.arange(2 ** len(own))[:, None] >> np.arange(len(own)) & 1
        variants = np.repeat(bits[None], len(settings), axis=0)
        variants[:, own] = settings
        tried = np.packbits(variants, axis=1)
    found = gguf.dequantize(tried, kind).reshape(len(tried), -1)
    right = (found == wanted).all(axis=1).nonzero()[0]
    return tried[right[0]] if len(right) else None


@lru_cache
def _own_bits(kind: Any) -> list[NDArray[np.int64]]:
    """For each weight of a block, the bits that no other weight of it depends on."""
    import gguf

    size, width = gguf.GGML_QUANT_SIZES[kind]
    blocks = np.random.default_rng(0).integers(0, 256, (_TRIALS, 1, width), np.uint8)
    masks = np.packbits(np.eye(8 * width, dtype=np.uint8), axis=1)
    with np.errstate(all="ignore"):  # a scale of random bits may be no number
        plain = gguf.dequantize(blocks, kind).view(np.int32).reshape(_TRIALS, 1, size)
        flipped = gguf.dequantize(blocks ^ masks, kind).view(np.int32)
    touches = (flipped.reshape(_TRIALS, 8 * width, size) != plain).any(axis=0)
    alone = touches.sum(axis=1) == 1
    return [(touches[:, one] & alone).nonzero()[0] for one in range(size)]


def _places(source: Path, model: PreTrainedModel, changes: Changes) -> dict[WeightMatrix, _Place]:
    """Where the matrices are in the file; proven on every value of their parameters.

    Raises:
        ModelError: one can't be told.
    """
    import gguf

    tensors = {one.name: one for one in gguf.GGUFReader(source).tensors}
    facts = load_gguf_checkpoint(str(source))
    config = facts["config"]
    architecture = str(config.get("model_type", ""))
    made: Any = TENSOR_PROCESSORS.get(architecture.replace("_moe", "moe"), TensorProcessor)
    processor = made(config=config)
    names = {theirs: own for own, theirs in get_gguf_hf_weights_map(model, processor).items()}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    found: dict[str, _Place] = {}
    for name in track(sorted({one.parameter for one in changes}), "Finding the matrices"):
        held = parameters[name].detach().cpu()
        tensor = tensors.get(names.get(name, ""))
        if tensor is not None and tensor.n_elements == held.numel():
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
            # Rows may be in another order: what transformers does on loading, done to numbers.
            numbers = np.arange(values.size).reshape(values.shape)
            order = processor.process(weights=numbers, name=tensor.name).weights.ravel()
            same = torch.from_numpy(values.ravel()[order]).to(held.dtype) == held.ravel()
            if bool(same.all()):
                found[name] = _Place(tensor.name, order)
                continue
        raise ModelError(
            f"{name} is no single tensor of {source}, or its values there are in an order that "
            f"can't be told. {_REMEDY}"
        )
    return {matrix: found[matrix.parameter] for matrix in changes}


def _check(
    source: Path, target: Path, places: Mapping[WeightMatrix, _Place], changes: Changes
) -> None:
    """See that a file's changed tensors are the original's but for the changes, exactly."""
    import gguf

    before = {one.name: one for one in gguf.GGUFReader(source).tensors}
    after = {one.name: one for one in gguf.GGUFReader(target).tensors}
    wanted: dict[str, NDArray[np.float32]] = {}
    for matrix, (indices, values) in changes.items():
        name, order = places[matrix].tensor, places[matrix].order
        if name not in wanted:
            one = before[name]
            wanted[name] = gguf.dequantize(one.data, one.tensor_type).ravel().copy()
        wanted[name][order[matrix.storage_index(indices).numpy()]] = values.float().numpy()
    for name, expected in track(wanted.items(), "Reading them back", len(wanted)):
        found = gguf.dequantize(after[name].data, after[name].tensor_type).ravel()
        if wrong := int((found != expected).sum()):
            raise FileFormatError(
                f"{target} is not the file that was to be written: {wrong} values of {name} "
                "differ. Write it again, into another file. Is the disk full?"
            )
