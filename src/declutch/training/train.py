"""Train a model, full or by an adapter, on the tokens that scoring sees."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from declutch.data.dimension import DataLike, LoadedDimension
from declutch.data.encoding import EncodedDimension, Encoder, encode_all, tokens_sha256
from declutch.errors import SettingsError
from declutch.files import expanded
from declutch.locks import locked
from declutch.models.loading import LoadedModel, load_model
from declutch.models.positions import refuse_too_long
from declutch.patching import Patch
from declutch.ranges import checked
from declutch.scoring.distributed import session
from declutch.settings import ModelSettings, TrainSettings, with_options
from declutch.training.finding import SCORES, check_asked, find_protected
from declutch.training.job import Job, Trained
from declutch.training.method import get_training
from declutch.training.mixture import load_mixture
from declutch.training.record import TRAINING_FILE, TrainedData


def train(
    model: LoadedModel | Path | str,
    data: Mapping[str, DataLike],
    *,
    out: Path | str,
    settings: TrainSettings | None = None,
    load: ModelSettings | None = None,
    protect: Patch | Path | str | None = None,
    couple: Mapping[str, DataLike] | None = None,
    exclude: Mapping[str, DataLike] | None = None,
    **options: Any,
) -> Trained:
    """Train a model on examples, and write an adapter or a checkpoint.

    The loss is the cross-entropy of the response tokens given the prompt, over the tokens that
    scoring counts. ``out`` gets training.json and ``adapter``, or ``model`` for a whole checkpoint.
    The same call on the same ``out`` goes on where it stopped.

    Args:
        model: a folder, a hub id or ``demo``; or a loaded model, which is changed.
        data: for each dimension its examples, or where they are.
        settings: how; and fields of it as keywords (``method="lora"``), which win.
        load: how the model is loaded.
        protect: a patch (or its folder) whose weights no training moves.
        couple, exclude: with ``protect_ratio`` the data that such a patch is scored on first.

    Under ``torchrun`` every process calls this alike.

    Raises:
        SettingsError: an option is wrong, or ``out`` holds something else.
        DataError: the data can't be used.
        ModelError: the model can't be trained so, or the loss is no number any more.
        PatchMismatch: the patch is another model's.
        MissingExtra: PEFT is not installed.
    """
    settings = with_options(TrainSettings, settings, options)
    out = expanded(checked("out", str, out))
    method = get_training(settings)
    check_asked(settings.protect_ratio, protect, couple, exclude)
    mixture = load_mixture(data, settings)
    _refuse_other(out)
    with session() as team, ExitStack() as stack:
        team.on_main(lambda: stack.enter_context(locked(out)))
        if not isinstance(model, LoadedModel):
            load = load or ModelSettings()
            if team.device and not (load.device or load.device_map):
                load = replace(load, device=str(team.device))
            model = load_model(model, load)
        encoded = _encoded(model, mixture, settings)
        if settings.protect_ratio is not None:
            protect = find_protected(model, couple or {}, exclude or {}, settings, out)
        elif protect is not None and not isinstance(protect, Patch):
            protect = Patch.load(expanded(protect))
        examples = [example for one in encoded.values() for example in one.examples]
        written = load.dtype if load else "auto"
        job = Job(model, method, settings, examples, protect, out, team, written)
        record = team.on_main(lambda: job.begun(_data(mixture, encoded)))
        return job.run(record) if record.files is None else job.finished(record)


def _refuse_other(out: Path) -> None:
    there = out.exists() and (
        not out.is_dir() or any(not path.name.startswith(".") for path in out.iterdir())
    )
    if there and not any((out / name).exists() for name in (TRAINING_FILE, SCORES)):
        raise SettingsError(
            f"{out} exists, is not empty and holds no training. Give another -o, or remove it."
        )


def _encoded(
    model: LoadedModel, mixture: Mapping[str, LoadedDimension], settings: TrainSettings
) -> dict[str, EncodedDimension]:
    """The tokens and masks that scoring makes of the same examples."""
    encoder = Encoder(model.tokenizer, settings.prompt_format, settings.max_length)
    found = {
        name: encode_all(encoder, one.examples, name, allow_fewer=settings.allow_fewer)
        for name, one in mixture.items()
    }
    for name, one in found.items():
        refuse_too_long(model.model, one.examples, name)
    return found


def _data(
    mixture: Mapping[str, LoadedDimension], encoded: Mapping[str, EncodedDimension]
) -> dict[str, TrainedData]:
    return {
        name: TrainedData(
            source=one.source,
            sha256=one.sha256,
            tokens_sha256=tokens_sha256(encoded[name].examples),
            examples=len(encoded[name].examples),
            tokens=encoded[name].tokens,
            counted_tokens=sum(example.counted for example in encoded[name].examples),
        )
        for name, one in mixture.items()
    }
