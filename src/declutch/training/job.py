"""A training on its folder: begun or gone on with, run, written."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn
from transformers import set_seed

from declutch.checkpoint import written_dtype
from declutch.data.encoding import EncodedExample
from declutch.errors import FileFormatError, SettingsError
from declutch.files import atomic_path, changed_files, hash_files, write_json
from declutch.models.loading import LoadedModel, load_model
from declutch.models.saving import save_checkpoint
from declutch.patching import Patch
from declutch.progress import log
from declutch.records import differences, read_record
from declutch.scoring.distributed import Team
from declutch.settings import ModelSettings, TrainSettings
from declutch.training.adapters import ADAPTER, PROTECTED, adapted, with_adapter
from declutch.training.method import Training
from declutch.training.protection import Protection, held
from declutch.training.record import (
    FORMAT_VERSION,
    TRAINING_FILE,
    Protected,
    TrainedData,
    TrainingRecord,
)
from declutch.training.trainer import run_trainer
from declutch.versions import versions

MODEL, CHECKPOINTS = "model", "checkpoints"
# What decides nothing, or is compared as what it came to.
_NOT_COMPARED = ("save_steps", "allow_fewer", "num_samples", "share")


@dataclass(frozen=True)
class Trained:
    """What came out: the record, and the model as it is judged."""

    record: TrainingRecord
    loaded: LoadedModel


@dataclass(frozen=True)
class Job:
    """All that a training is about.

    Attributes:
        loaded: the model, which is changed.
        patch: whose weights are protected.
        written: the dtype of a checkpoint, as ``--dtype``.
    """

    loaded: LoadedModel
    method: Training
    settings: TrainSettings
    examples: Sequence[EncodedExample]
    patch: Patch | None
    out: Path
    team: Team
    written: str

    def begun(self, data: dict[str, TrainedData]) -> TrainingRecord:
        """The record in the folder, new or to go on with.

        Raises:
            SettingsError: it is of a training from something else; the message names it.
            FileFormatError: a file of it is not as it was written.
        """
        record = TrainingRecord(
            model=self.loaded.info,
            method=self.settings.method,
            made_from=self._made_from(data),
            data=data,
            protected=self._protected(),
            versions=versions("accelerate", "peft"),
        )
        path = self.out / TRAINING_FILE
        if not path.exists():
            self._keep(record)
            return record
        before = read_record(path, TrainingRecord, FORMAT_VERSION)
        if changed := differences(before.made_from, record.made_from):
            raise SettingsError(
                f"{self.out} holds a training with other settings: {'; '.join(changed)}. Give the "
                "same settings to go on with it, or another -o."
            )
        if names := changed_files(self.out, before.files or {}):
            raise FileFormatError(
                f"{self.out / names[0]} is not as this training wrote it: damaged, changed or "
                "gone. Put it back, or train again with another -o."
            )
        return before

    def _protected(self) -> Protected | None:
        if self.patch is None:
            return None
        checksum, value = self.patch.info.checksum, self.settings.protect_value
        return Protected(checksum=checksum, weights=len(self.patch), value=value)

    def _made_from(self, data: Mapping[str, TrainedData]) -> dict[str, Any]:
        """All that decides the outcome."""
        chosen = {k: v for k, v in asdict(self.settings).items() if k not in _NOT_COMPARED}
        return {
            **chosen,
            **asdict(self.method),  # type: ignore[call-overload]
            "learning_rate": self.learning_rate,
            "model": self.loaded.info.fingerprint,
            "dtype": self.loaded.info.dtype,
            **{f"tokens of {name}": one.tokens_sha256 for name, one in data.items()},
            "protect": None if self.patch is None else self.patch.info.checksum,
            "processes": self.team.size,
        }

    @property
    def learning_rate(self) -> float:
        """What is asked for, or the method's own."""
        return self.settings.learning_rate or self.method.learning_rate

    def _keep(self, record: TrainingRecord) -> None:
        write_json(self.out / TRAINING_FILE, record.model_dump(mode="json"))

    def finished(self, record: TrainingRecord) -> Trained:
        """What an earlier call left."""
        log.info("%s is trained already", self.out)
        if self.method.adapter:
            return Trained(record, with_adapter(self.loaded, self.out))
        options = ModelSettings(dtype="checkpoint", device=str(self.loaded.model.device))
        return Trained(record, load_model(self.out / MODEL, options))

    def run(self, record: TrainingRecord) -> Trained:
        """Train, and write what came of it."""
        started = time.monotonic()
        model = self.loaded.model
        protection, places = None, []
        if self.patch is not None:
            protection = Protection.of(self.patch, model, self.settings.protect_value)
            places = protection.places(model)
        for place in places:
            place.write()
        set_seed(self.settings.seed)
        trained = self.method.attach(model)
        numbers = [(one.numel(), one.requires_grad) for one in trained.parameters()]
        with held(places, trained) as callbacks:
            steps = run_trainer(
                trained, self.examples, self.settings, self.learning_rate,
                self.out / CHECKPOINTS, callbacks,
            )  # fmt: skip
        trained.eval()
        self.team.on_main(lambda: self._save_adapter(trained))
        used = adapted(self.loaded, self.out, self.method.used(trained), protection)
        self.team.on_main(lambda: self._save_model(used, protection))
        record = record.model_copy(
            update={
                "trainable": sum(count for count, grad in numbers if grad),
                "parameters": sum(count for count, _ in numbers),
                "steps": steps,
                "seconds": round(time.monotonic() - started, 3),
                "files": {
                    f"{part}/{name}": digest
                    for part in (MODEL, ADAPTER, PROTECTED)
                    for name, digest in hash_files(self.out / part).items()
                },
            }
        )
        self.team.on_main(lambda: self._keep(record))
        self.team.on_main(lambda: shutil.rmtree(self.out / CHECKPOINTS, ignore_errors=True))
        return Trained(record, used)

    def _save_adapter(self, trained: nn.Module) -> None:
        if self.method.adapter:
            with atomic_path(self.out / ADAPTER) as temporary:
                self.method.save(trained, temporary)
        if self.patch is not None:
            self.patch.save(self.out / PROTECTED, overwrite=True)

    def _save_model(self, used: LoadedModel, protection: Protection | None) -> None:
        if self.method.adapter and not self.settings.merge:
            return
        shutil.rmtree(self.out / MODEL, ignore_errors=True)  # of a killed process
        save_checkpoint(
            self.out / MODEL, used.model, used.tokenizer,
            protection.expected if protection else {}, used.stored,
            written_dtype(self.loaded, self.written), trained=True,
        )  # fmt: skip
