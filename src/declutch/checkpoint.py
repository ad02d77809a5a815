"""Write a patched or an original checkpoint, and read it back, in a dtype decided beforehand."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from declutch.errors import PatchMismatch, SettingsError
from declutch.files import atomic_path, expanded
from declutch.locks import locked_beside
from declutch.models.gguf_file import gguf_path, rewrite_gguf
from declutch.models.loading import LoadedModel, load_model
from declutch.models.on_disk import compare_files, open_weights
from declutch.models.rewriting import by_stored_name, copy_companions
from declutch.models.saving import refuse_existing, save_checkpoint
from declutch.models.stored import rounds
from declutch.models.weights import State, weights_of
from declutch.patching import Patch
from declutch.progress import log, track
from declutch.settings import ModelSettings


def check_writable(loaded: LoadedModel) -> None:
    """Before any long work: see that the checkpoint can be written, and say in which dtype if
    that is not the stored one.

    Raises:
        ModelError: writing would lose a part of what is stored.
    """
    if loaded.stored is None:
        return
    by_stored_name(loaded.stored, loaded.model)
    if rounds(loaded.stored.dtype, loaded.model.dtype):
        log.warning(
            "The checkpoint of %s is in %s and is used in %s, which rounds its weights: the patch "
            "will fit the model in %s alone, and the patched checkpoint is written in it.",
            loaded.info.id, _name(loaded.stored.dtype), loaded.info.dtype, loaded.info.dtype,
        )  # fmt: skip


def write(
    reference: str,
    patch: Patch,
    place: Path,
    state: State,
    options: ModelSettings,
    *,
    on_disk: bool = False,
) -> int:
    """Write a model with a patch applied, or reverted, in the form that was asked for.

    Args:
        place: a file that ends in ``.gguf``, or the folder of a checkpoint.

    Returns:
        The number of patched weights found right on disk.

    Raises:
        DeclutchError: as :func:`write_checkpoint`, :func:`write_on_disk` and :func:`write_gguf`.
    """
    if on_disk:
        return write_on_disk(reference, patch, place, state, options)
    if place.suffix == ".gguf":
        return write_gguf(reference, patch, place, state, options)
    loaded = load_model(reference, options)
    return write_checkpoint(loaded, patch, place, state, dtype=options.dtype)


def write_checkpoint(
    loaded: LoadedModel,
    patch: Patch,
    folder: Path | str,
    state: State,
    *,
    dtype: str = "checkpoint",
) -> int:
    """Write a checkpoint with a patch applied, or reverted, and check it on disk.

    Args:
        loaded: the original model to write a patched one, the patched model to write the original.
            It is left as it was.
        dtype: as ``--dtype``; one by name is written, ``auto`` and ``checkpoint`` keep the stored
            one. A model that was loaded in a dtype that can't hold the stored values is another
            model than the files', and is written as it is in memory.

    Returns:
        The number of patched weights found right on disk.

    Raises:
        PatchMismatch: the patch does not fit the model.
        SettingsError: the folder exists.
        ModelError: the model's weights can't be told in its files.
    """
    held = loaded.model.dtype
    change, undo = (
        (patch.apply, patch.revert) if state == "patched" else (patch.revert, patch.apply)
    )
    try:
        change(loaded.model)
    except PatchMismatch as error:
        raise PatchMismatch(f"{error}{_of_another_dtype(patch, loaded)}") from error
    expected = {
        name: (indices, patch.values(name, state, held)) for name, indices in patch.indices.items()
    }
    try:
        return save_checkpoint(
            expanded(folder), loaded.model, loaded.tokenizer, expected, loaded.stored,
            written_dtype(loaded, dtype),
        )  # fmt: skip
    finally:
        undo(loaded.model, check=False)


def written_dtype(loaded: LoadedModel, dtype: str) -> torch.dtype | None:
    """In what a model's checkpoint is written; None for each tensor as it is stored.

    Args:
        dtype: as ``--dtype``.
    """
    stored, held = loaded.stored, loaded.model.dtype
    named = dtype not in ("auto", "checkpoint")
    return held if stored and (named or rounds(stored.dtype, held)) else None


def write_on_disk(
    reference: str | Path,
    patch: Patch,
    folder: Path | str,
    state: State,
    options: ModelSettings | None = None,
) -> int:
    """As :func:`write_checkpoint`, file by file: the model is never in memory.

    The whole fingerprint is read in a stream before anything is written; then each file is copied,
    the patch's values are put into the copy, and copy and original are compared byte by byte.

    Args:
        reference: a folder of safetensors, a hub id, or ``demo``.

    Returns:
        The number of patched weights found right on disk.

    Raises:
        PatchMismatch: the patch does not fit the model.
        SettingsError: the folder exists, the disk is too small, or an option is for models in
            memory.
        ModelError: the files' tensors can't be matched with the model's parameters.
    """
    options, folder = options or ModelSettings(), expanded(folder)
    if options.dtype not in ("auto", "checkpoint") or options.device or options.device_map:
        raise SettingsError(
            "--on-disk keeps each tensor's dtype and uses no device: leave out --dtype, --device "
            "and --device-map, or --on-disk."
        )
    refuse_existing(folder)
    weights = open_weights(str(reference), options, _made_in(patch))
    before: State = "original" if state == "patched" else "patched"
    patch.require(weights, before)
    with locked_beside(folder), atomic_path(folder) as temporary:
        needed = sum(file.stat().st_size for file in weights.stored.files)
        if shutil.disk_usage(folder.parent).free < needed:
            raise SettingsError(
                f"{folder} needs {needed / 2**30:.1f} GiB, and its disk has less free. Give "
                "another -o, or make room."
            )
        temporary.mkdir()
        copy_companions(weights.stored, temporary)
        for file in track(weights.stored.files, "Copying the checkpoint"):
            shutil.copyfile(file, temporary / file.name)
        copy = weights.moved(temporary)
        (patch.apply if state == "patched" else patch.revert)(copy, check=False)
        patch.require(copy, state, check=False)
        changed = {file.name: np.empty(0, np.int64) for file in weights.stored.files}
        for matrix in weights.matrices(patch.indices).values():
            for name, at in copy.changed_bytes(matrix, patch.indices[matrix.name]).items():
                changed[name] = np.concatenate([changed[name], at])
        for file in track(weights.stored.files, "Comparing it with the original"):
            compare_files(file, temporary / file.name, changed[file.name])
        if folder.is_dir():
            folder.rmdir()
    return len(patch)


def write_gguf(
    reference: str | Path,
    patch: Patch,
    file: Path | str,
    state: State,
    options: ModelSettings | None = None,
) -> int:
    """Write a patched GGUF file, or the original back, in the quantisation that it has.

    Every other weight keeps its value exactly, and the patch's get theirs exactly.

    Args:
        reference: a ``.gguf`` file, here or on the hub.

    Returns:
        The number of patched weights found right in the file.

    Raises:
        PatchMismatch: the patch does not fit the model.
        SettingsError: the file exists.
        ModelError: a block of the quantisation can't hold a value, or a matrix can't be told in
            the file.
    """
    options, file = options or ModelSettings(), expanded(file)
    if file.exists():
        raise SettingsError(f"{file} exists. Give another -o, or remove it.")
    source = gguf_path(str(reference), options)
    if options.dtype in ("auto", "checkpoint"):
        options = replace(options, dtype="float32")  # whatever a block's values are
    loaded = load_model(source, options)
    with locked_beside(file), atomic_path(file) as temporary:
        patch.require(loaded.model, "original" if state == "patched" else "patched")
        matrices = weights_of(loaded.model).matrices(patch.indices)
        changes = {
            one: (patch.indices[name], patch.values(name, state, loaded.model.dtype))
            for name, one in matrices.items()
        }
        rewrite_gguf(source, loaded.model, changes, temporary)
    return len(patch)


def _of_another_dtype(patch: Patch, loaded: LoadedModel) -> str:
    """A hint where the patch may be of the same model in fewer bits."""
    made_in = _made_in(patch)
    if made_in is None or not rounds(loaded.model.dtype, made_in):
        return ""
    return (
        f" The patch was made on a model in {_name(made_in)}, and this one is in "
        f"{loaded.info.dtype}: if it is the same, add --dtype {_name(made_in)}."
    )


def _made_in(patch: Patch) -> torch.dtype | None:
    """The dtype of the model that a patch was made on."""
    dtype = getattr(torch, patch.info.model.dtype, None)
    return dtype if isinstance(dtype, torch.dtype) else None


def _name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")
