"""The weights of a checkpoint's files, read and changed in place, without a model in memory.

A model of shapes alone says which parameters there are, and transformers' own conversion for
saving says under which names the files have them: done on tensors without memory it leaves views,
and a view tells where in its parameter a stored tensor lies (experts are stored one by one and
held as a stack).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import build_glob_alternation

from declutch.errors import FileFormatError, ModelError
from declutch.models.demo import DEMO, DEMO_ID, demo_folder
from declutch.models.explain import readable
from declutch.models.fingerprint import checksum, checksum_change, fingerprint_of
from declutch.models.loading import empty_model, find_source
from declutch.models.matrices import WeightMatrix, resolve
from declutch.models.rewriting import by_stored_name, storage_id
from declutch.models.stored import StoredCheckpoint, rounds, stored_checkpoint
from declutch.progress import track
from declutch.settings import ModelSettings

_CHUNK = 1 << 22  # values read at a time
_BLOCK = 1 << 24  # bytes compared at a time
_THREADS = 8
_REMEDY = (
    "Without --on-disk the model is loaded, and whatever transformers can load and save is patched."
)


@dataclass(frozen=True)
class Piece:
    """A stored tensor, and where in a parameter its values are.

    Attributes:
        begin: place in the file, in bytes.
        offset: flat position in the parameter of its first value.
        stride: for each axis, how far apart in the parameter neighbours are.
    """

    name: str
    file: Path
    begin: int
    shape: tuple[int, ...]
    stored: torch.dtype
    offset: int
    stride: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Number of values."""
        return prod(self.shape)

    @property
    def contiguous(self) -> bool:
        """Whether its values are neighbours in the parameter, in their order."""
        steps = [prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]
        return all(
            size == 1 or stride == step
            for size, stride, step in zip(self.shape, self.stride, steps, strict=True)
        )

    def place(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Of flat positions in the parameter: which are in this piece, and where in it."""
        rest = positions - self.offset
        inside = torch.ones_like(rest, dtype=torch.bool)
        here = torch.zeros_like(rest)
        axes = sorted(range(len(self.shape)), key=lambda axis: -self.stride[axis])
        for axis in axes:
            if self.shape[axis] == 1:
                continue
            coordinate = rest.div(self.stride[axis], rounding_mode="floor")
            rest = rest - coordinate * self.stride[axis]
            inside &= (coordinate >= 0) & (coordinate < self.shape[axis])
            here += coordinate * prod(self.shape[axis + 1 :])
        return inside & (rest == 0), here

    def checksum(self, held: torch.dtype) -> int:
        """Its share of the parameter's checksum, read in a stream."""
        total = 0
        with self.file.open("rb") as file:
            file.seek(self.begin)
            for start in range(0, self.numel, _CHUNK):
                count = min(_CHUNK, self.numel - start)
                data = bytearray(count * self.stored.itemsize)
                file.readinto(data)
                values = torch.frombuffer(data, dtype=self.stored).to(held)
                if self.contiguous:
                    total += checksum(values, self.offset + start)
                    continue
                axes = torch.unravel_index(torch.arange(start, start + count), self.shape)
                steps = zip(axes, self.stride, strict=True)
                at = self.offset + sum(axis * stride for axis, stride in steps)
                total += checksum_change(torch.as_tensor(at), torch.zeros(()), values)
        return total


class WeightsOnDisk:
    """The weights of a stored checkpoint.

    Attributes:
        stored: its files.
        shell: the model, of shapes alone.
    """

    def __init__(
        self, stored: StoredCheckpoint, shell: PreTrainedModel, pieces: Mapping[str, list[Piece]]
    ) -> None:
        self.stored = stored
        self.shell = shell
        self._pieces = pieces
        self._held = {name: _held_dtype(shell, name, one) for name, one in shell.named_parameters()}

    def moved(self, folder: Path) -> WeightsOnDisk:
        """The same files in another folder."""
        files = tuple(folder / file.name for file in self.stored.files)
        pieces = {
            name: [replace(one, file=folder / one.file.name) for one in pieces]
            for name, pieces in self._pieces.items()
        }
        return WeightsOnDisk(replace(self.stored, files=files), self.shell, pieces)

    def matrices(self, names: Iterable[str]) -> dict[str, WeightMatrix]:
        """Matrices by name."""
        return resolve(self.shell, names, empty=True)

    def read(self, matrix: WeightMatrix, indices: Tensor) -> Tensor:
        """The values at positions, rounded where the model is held in fewer bits."""
        found = torch.empty(len(indices), dtype=self._narrowest(matrix))
        for piece, inside, begins in self._places(matrix, indices):
            with piece.file.open("rb") as file:
                data = bytearray()
                for begin in begins:
                    file.seek(begin)
                    data += file.read(piece.stored.itemsize)
            found[inside] = torch.frombuffer(data, dtype=piece.stored).to(found.dtype)
        return found

    def write(self, matrix: WeightMatrix, indices: Tensor, values: Tensor) -> None:
        """Put values at positions, in the files."""
        for piece, inside, begins in self._places(matrix, indices):
            rows = values[inside].to(piece.stored).unsqueeze(1).view(torch.uint8).numpy()
            with piece.file.open("r+b") as file:
                for begin, row in zip(begins, rows, strict=True):
                    file.seek(begin)
                    file.write(row.tobytes())

    def fingerprint(self, changes: Mapping[str, int]) -> str:
        """Of the whole model, read in a stream.

        Raises:
            ModelError: a shared weight is stored twice, with different values.
        """
        parts: dict[tuple[str, int], int] = {}
        pieces = [(name, one) for name in self._held for one in self._pieces[name]]
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
            found = pool.map(lambda pair: pair[1].checksum(self._held[pair[0]]), pieces)
            read = track(found, "Reading the checkpoint", len(pieces))
            for (name, piece), part in zip(pieces, read, strict=True):
                if parts.setdefault((name, piece.offset), part) != part:
                    raise ModelError(
                        f"{self.stored.folder} stores a shared weight twice ({piece.name}), with "
                        f"different values. {_REMEDY}"
                    )
        checksums: Counter[str] = Counter()
        for (name, _), part in parts.items():
            checksums[name] += part
        return fingerprint_of(self.shell, checksums, changes)

    def changed_bytes(self, matrix: WeightMatrix, indices: Tensor) -> dict[str, NDArray[np.int64]]:
        """The bytes that hold positions, by the name of the file."""
        found: dict[str, NDArray[np.int64]] = {}
        for piece, _, begins in self._places(matrix, indices):
            at = np.add.outer(np.array(begins, np.int64), np.arange(piece.stored.itemsize)).ravel()
            found[piece.file.name] = np.concatenate([found.get(piece.file.name, at[:0]), at])
        return found

    def _places(
        self, matrix: WeightMatrix, indices: Tensor
    ) -> Iterator[tuple[Piece, Tensor, list[int]]]:
        """The pieces that hold positions: which of them, and at which bytes."""
        positions = matrix.storage_index(indices)
        for piece in self._pieces[matrix.parameter]:
            inside, here = piece.place(positions)
            if inside.any():
                begins = piece.begin + here[inside] * piece.stored.itemsize
                yield piece, inside, begins.tolist()

    def _narrowest(self, matrix: WeightMatrix) -> torch.dtype:
        stored, held = self._pieces[matrix.parameter][0].stored, self._held[matrix.parameter]
        return held if rounds(stored, held) else stored


def open_weights(
    reference: str, options: ModelSettings, used: torch.dtype | None = None
) -> WeightsOnDisk:
    """Find a checkpoint's files, and what in them is which parameter.

    Args:
        reference: a folder, a hub id or ``demo``.
        used: the dtype in which the model is used, where it is not that of the files.

    Raises:
        ModelError: the files can't be matched with a model, or it is used in fewer bits than its
            files hold.
    """
    source = str(demo_folder()) if reference in (DEMO, DEMO_ID) else reference
    with readable(reference, "model"):
        where, arguments = find_source(source, options)
        if "gguf_file" in arguments:
            raise ModelError(
                f"{reference} is a GGUF file: it is patched without --on-disk, and with -o "
                "FILE.gguf it stays one."
            )
        stored = stored_checkpoint(where, arguments.get("revision"))
        config: Any = AutoConfig.from_pretrained(where, **arguments)
        if stored.dtype is None or getattr(config, "quantization_config", None) is not None:
            raise ModelError(
                f"{reference} is quantised: a weight can't be set without its block's others. "
                "Patch the unquantised checkpoint, and quantise the result."
            )
        used = used or stored.dtype
        if rounds(stored.dtype, used):
            name = str(used).removeprefix("torch.")
            raise ModelError(
                f"The checkpoint of {reference} is in {str(stored.dtype).removeprefix('torch.')}, "
                f"and the patch was made on a model in {name}, which rounds its weights. Apply it "
                f"without --on-disk and with --dtype {name}."
            )
        shell = empty_model(config, arguments["trust_remote_code"], used)
    return WeightsOnDisk(stored, shell, _pieces(stored, shell))


def compare_files(first: Path, second: Path, changed: NDArray[np.int64]) -> None:
    """See that two files have the same bytes at all but some places.

    Args:
        changed: the places that may differ.

    Raises:
        FileFormatError: they differ elsewhere.
    """
    with first.open("rb") as one, second.open("rb") as two:
        start = 0
        while True:
            left = np.frombuffer(one.read(_BLOCK), np.uint8)
            right = np.frombuffer(two.read(_BLOCK), np.uint8)
            same = len(left) == len(right)
            if not same or len(np.setdiff1d(np.flatnonzero(left != right) + start, changed)):
                raise FileFormatError(
                    f"{second} is not the file that was to be written: it differs from {first} in "
                    "other places than the patch's. Is the disk full or failing, or was the "
                    "original changed meanwhile?"
                )
            if not len(left):
                return
            start += len(left)


def _pieces(stored: StoredCheckpoint, shell: PreTrainedModel) -> dict[str, list[Piece]]:
    """The stored tensors of each parameter.

    Raises:
        ModelError: some parameter's can't be told.
    """
    views = _views(stored, shell)
    owners = {storage_id(one): name for name, one in shell.named_parameters()}
    begins = {file: _begins(file) for file in stored.files}
    pieces: dict[str, list[Piece]] = defaultdict(list)
    for name, view in views.items():
        entry, owner = stored.tensors[name], owners.get(storage_id(view))
        if owner is not None and entry.dtype is not None:
            pieces[owner].append(
                Piece(
                    name, entry.file, begins[entry.file][name], entry.shape, entry.dtype,
                    int(view.storage_offset()), view.stride(),
                )
            )  # fmt: skip
    unknown = [
        name
        for name, one in shell.named_parameters()
        if sum({piece.offset: piece.numel for piece in pieces[name]}.values()) != one.numel()
    ]
    if unknown:
        raise ModelError(
            f"What {stored.folder} stores is not what the model holds, and {len(unknown)} of its "
            f"parameters can't be told in the files, or not as parts of stored tensors "
            f"({_shown(unknown)}). {_REMEDY}"
        )
    return pieces


def _views(stored: StoredCheckpoint, shell: PreTrainedModel) -> Mapping[str, Tensor]:
    """Stored tensors by name, as views of the parameters that they are parts of."""
    # Of a part of a larger model the names may begin otherwise: what loading finds out by itself.
    for conversions in (None, get_model_conversion_mapping(shell, add_legacy=False)):
        vars(shell)["_weight_conversions"] = conversions
        with _ViewsAlone(), contextlib.suppress(ModelError):
            if views := by_stored_name(stored, shell):
                return views
    return {}


class _ViewsAlone(TorchFunctionMode):
    """No copy of a view is made to order its values: of what has no memory only views tell."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return args[0] if func is Tensor.contiguous else func(*args, **(kwargs or {}))


def _begins(file: Path) -> dict[str, int]:
    """Where in a safetensors file each tensor begins, in bytes; its header has been checked."""
    with file.open("rb") as reader:
        length = int.from_bytes(reader.read(8), "little")
        header = json.loads(reader.read(length))
    return {
        name: 8 + length + entry["data_offsets"][0]
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _held_dtype(shell: PreTrainedModel, name: str, parameter: Tensor) -> torch.dtype:
    """The dtype in which from_pretrained holds a parameter: a few are kept wider."""
    plan = shell._get_dtype_plan(shell.dtype)
    if plan and build_glob_alternation(list(plan))[0].search(name):
        return torch.float32
    return parameter.dtype


def _shown(names: Collection[str]) -> str:
    return f"{', '.join(list(names)[:3])}{', ...' if len(names) > 3 else ''}"
