"""Write a checkpoint and read back from disk what must be in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from declutch.errors import FileFormatError, SettingsError
from declutch.files import atomic_path
from declutch.locks import locked_beside
from declutch.models.fingerprint import float_bits
from declutch.models.matrices import WeightMatrix, resolve
from declutch.models.quiet import quiet_transformers
from declutch.models.rewriting import by_stored_name, rewrite
from declutch.models.stored import StoredCheckpoint


def refuse_existing(folder: Path) -> None:
    """Refuse to write a checkpoint where something is.

    Raises:
        SettingsError: the folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder} exists and is not empty. Give another -o, or remove it.")


def save_checkpoint(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    expected: Mapping[str, tuple[Tensor, Tensor]],
    stored: StoredCheckpoint | None = None,
    dtype: torch.dtype | None = None,
    *,
    trained: bool = False,
) -> int:
    """Save a checkpoint: model, tokenizer, chat template and generation config; then check it.

    Args:
        folder: must not hold anything.
        expected: by matrix, flat positions in the ``[out, in]`` view and the values there.
        stored: the files that the model was loaded from. They are written again with the model's
            values, so that whatever else is in them goes along. Without it transformers writes
            what the model holds.
        dtype: write real numbers so; by default each tensor as it was stored.
        trained: values beside the expected ones differ from the files too.

    Returns:
        The number of positions that were read back and found right.

    Raises:
        FileFormatError: a value on disk is not the expected one; nothing is left behind then.
        ModelError: writing would lose a part of what is stored.
    """
    refuse_existing(folder)
    current = by_stored_name(stored, model) if stored else None
    with locked_beside(folder), atomic_path(folder) as temporary:
        if stored and current is not None:
            most = None if trained else sum(len(indices) for indices, _ in expected.values())
            rewrite(stored, current, temporary, most, dtype)
        else:
            with quiet_transformers():
                model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
        checked = check_on_disk(temporary, model, expected)
        if folder.is_dir():
            folder.rmdir()
    return checked


def check_on_disk(
    folder: Path, model: PreTrainedModel, expected: Mapping[str, tuple[Tensor, Tensor]]
) -> int:
    """Read a saved checkpoint's files and compare every given position, bit for bit.

    Raises:
        FileFormatError: a value differs.
    """
    matrices = resolve(model, expected)
    try:
        parameters = _read(folder, model, {matrix.parameter for matrix in matrices.values()})
    except (SafetensorError, OSError) as error:
        raise FileFormatError(
            f"The checkpoint in {folder} is damaged: {error}. Write it again, into another folder."
        ) from error
    checked = 0
    for name, (indices, values) in expected.items():
        matrix: WeightMatrix = matrices[name]
        flat = parameters[matrix.parameter].reshape(-1)
        found = flat[matrix.storage_index(indices)]
        wrong = int((float_bits(found) != float_bits(values.to(found.dtype))).sum())
        if wrong:
            raise FileFormatError(
                f"The checkpoint in {folder} is not the model that was to be written: {wrong} of "
                f"{len(indices)} values of {name} differ on disk. Write it again, into another "
                "folder. Is the disk full, or is a weight stored under another name?"
            )
        checked += len(indices)
    return checked


def _read(folder: Path, model: PreTrainedModel, wanted: set[str]) -> dict[str, Tensor]:
    """The wanted parameters, as they are on disk."""
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as reader:
            found |= {name: reader.get_tensor(name) for name in wanted & set(reader.keys())}
    # The checkpoint's own names may differ from the model's (experts are stored one by one).
    return found if wanted <= found.keys() else _reload(folder, model)


def _reload(folder: Path, model: PreTrainedModel) -> dict[str, Tensor]:
    with quiet_transformers():
        loaded = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=model.dtype,
            device_map="cpu",
            use_safetensors=True,
            # Code of its own ran to load the model, so it is trusted.
            trust_remote_code=type(model).__module__.startswith("transformers_modules"),
        )
    with torch.no_grad():
        return {name: parameter.detach() for name, parameter in loaded.named_parameters()}
