"""Write a patched or an original checkpoint, and read it back, in a dtype decided beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from declutch.errors import PatchMismatch
from declutch.files import expanded
from declutch.models.loading import LoadedModel
from declutch.models.rewriting import by_stored_name
from declutch.models.saving import save_checkpoint
from declutch.models.stored import rounds
from declutch.patching import Patch
from declutch.progress import log

State = Literal["original", "patched"]


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


def _of_another_dtype(patch: Patch, loaded: LoadedModel) -> str:
    """A hint where the patch may be of the same model in fewer bits."""
    made_in = getattr(torch, patch.info.model.dtype, None)
    if not isinstance(made_in, torch.dtype) or not rounds(loaded.model.dtype, made_in):
        return ""
    return (
        f" The patch was made on a model in {_name(made_in)}, and this one is in "
        f"{loaded.info.dtype}: if it is the same, add --dtype {_name(made_in)}."
    )


def _name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")
