"""Put a trained adapter on a model that was loaded, so that it can be judged or written."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError
from transformers import PreTrainedModel

from declutch.errors import FileFormatError, ModelError
from declutch.files import changed_files, expanded
from declutch.models.identity import describe
from declutch.models.loading import LoadedModel
from declutch.patching import Patch
from declutch.records import read_record
from declutch.training.methods.lora import merged, peft
from declutch.training.methods.loreft import FACTS as LOREFT
from declutch.training.methods.loreft import load_edits
from declutch.training.protection import Protection
from declutch.training.record import FORMAT_VERSION, TRAINING_FILE, TrainingRecord

ADAPTER, PROTECTED = "adapter", "protected"


def with_adapter(loaded: LoadedModel, folder: Path | str) -> LoadedModel:
    """A model with an adapter: LoRA and DoRA in its weights, LoReFT on it.

    Args:
        loaded: is changed.
        folder: what ``declutch train`` wrote, or one in PEFT's format from elsewhere.

    Raises:
        FileFormatError: it holds no adapter that is whole.
        ModelError: the adapter is of another model.
        MissingExtra: PEFT is not installed.
    """
    folder = expanded(folder)
    if not (folder / TRAINING_FILE).exists():
        return _on(loaded, folder, folder, None)
    record = read_record(folder / TRAINING_FILE, TrainingRecord, FORMAT_VERSION)
    if record.files is None or not (folder / ADAPTER).is_dir():
        why = "is not finished" if record.files is None else f"is of --method {record.method}"
        raise FileFormatError(
            f"{folder} holds no adapter: the training there {why}. A checkpoint in it is judged "
            "by its own name (DIR/model)."
        )
    if record.model.fingerprint != loaded.info.fingerprint:
        raise ModelError(
            f"The adapter in {folder} was trained on another model ({record.model.id}, fingerprint "
            f"{record.model.fingerprint[:12]}) than {loaded.info.id} "
            f"({loaded.info.fingerprint[:12]}). Give that one."
        )
    if names := changed_files(folder, record.files):
        raise FileFormatError(
            f"{folder / names[0]} is not as the training wrote it: damaged, changed or gone. Train "
            "again with another -o."
        )
    protection = None
    if record.protected:
        patch = Patch.load(folder / PROTECTED)
        protection = Protection.of(patch, loaded.model, record.protected.value)
        protection.write(loaded.model)
    return _on(loaded, folder, folder / ADAPTER, protection)


def _on(
    loaded: LoadedModel, folder: Path, adapter: Path, protection: Protection | None
) -> LoadedModel:
    if (adapter / LOREFT).is_file():
        return adapted(loaded, folder, load_edits(loaded.model, adapter), protection)
    if not (adapter / "adapter_model.safetensors").is_file():  # a pickle is never read
        raise FileFormatError(
            f"{folder} holds no adapter: there is no {TRAINING_FILE}, adapter_model.safetensors "
            f"or {LOREFT}."
        )
    package = peft("putting an adapter on a model")
    try:
        with warnings.catch_warnings():
            # Weights that are not in the file would be random.
            warnings.filterwarnings("error", "Found missing adapter keys")
            model = merged(package.PeftModel.from_pretrained(loaded.model, adapter))
    except (
        OSError, ValueError, KeyError, TypeError, RuntimeError, UserWarning, SafetensorError,
    ) as error:  # fmt: skip
        raise FileFormatError(
            f"The adapter in {adapter} can't be put on {loaded.info.id}: "
            f"{str(error).splitlines()[0]:.300}. Is it of this model, and whole?"
        ) from error
    return adapted(loaded, folder, model, protection)


def adapted(
    loaded: LoadedModel, folder: Path, model: PreTrainedModel, protection: Protection | None
) -> LoadedModel:
    """What was loaded, as a model with an adapter; protected weights are put in their place."""
    if protection:
        protection.write(model)
    return replace(loaded, model=model, info=describe(model, f"{loaded.info.id} + {folder.name}"))
