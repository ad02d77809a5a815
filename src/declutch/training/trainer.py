"""transformers' Trainer on declutch's own tokens and loss mask."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from declutch.data.encoding import EncodedExample
from declutch.errors import ModelError
from declutch.models.forward import collate
from declutch.models.quiet import quiet_transformers
from declutch.progress import announce, log, progress_bar
from declutch.settings import TrainSettings
from declutch.training.record import Step

_WEIGHTS = "trained.safetensors"
_IGNORED = -100  # what transformers' losses leave out


def labelled(examples: Sequence[EncodedExample]) -> dict[str, Tensor]:
    """A batch as the models of transformers take it, padded and masked as for scoring.

    There is no attention mask, as everywhere in :mod:`declutch.models.forward`.
    """
    batch = collate(examples)
    labels = torch.full_like(batch.input_ids, _IGNORED)
    labels[batch.rows, batch.columns + 1] = batch.targets
    return {"input_ids": batch.input_ids, "labels": labels}


def run_trainer(
    model: nn.Module,
    examples: Sequence[EncodedExample],
    settings: TrainSettings,
    learning_rate: float,
    folder: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> tuple[Step, ...]:
    """Train; go on from the last whole checkpoint in a folder, if there is one.

    Raises:
        ModelError: the loss is no number any more.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        max_steps=settings.steps or -1,
        learning_rate=learning_rate,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        weight_decay=settings.weight_decay,
        # A number of 1 or more would be steps.
        warmup_steps=min(settings.warmup, math.nextafter(1, 0)),
        optim="adamw_torch",
        bf16=settings.bf16,
        seed=settings.seed,
        save_strategy="steps" if settings.save_steps else "epoch",
        save_steps=settings.save_steps or 500,
        save_total_limit=1,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
    )
    watch = _Watch()
    trainer = _Trainer(
        model=model,
        args=arguments,
        train_dataset=examples,
        data_collator=labelled,
        callbacks=[watch, *callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    found = _last_checkpoint(folder)
    if found:
        log.info("Going on from step %s", found.name.rpartition("-")[2])
    with quiet_transformers(), watch.bar:
        trainer.train(resume_from_checkpoint=str(found) if found else None)
    return tuple(
        Step(int(one["step"]), one["loss"], one["learning_rate"], one.get("grad_norm"))
        for one in trainer.state.log_history
        if "loss" in one
    )


def _last_checkpoint(folder: Path) -> Path | None:
    """The furthest that is whole: its state is written last."""
    for path in sorted(folder.glob("checkpoint-*"), key=lambda p: -int(p.name.split("-")[1])):
        try:
            json.loads((path / "trainer_state.json").read_bytes())
        except (OSError, ValueError):
            continue
        return path
    return None


class _Trainer(Trainer):
    """Keeps in a checkpoint what is trained, and not the frozen weights beside it.

    Trainer's own would write the whole model at each, and read a mixture of experts back under
    names that it does not have in memory.
    """

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self.args.should_save:
            folder = Path(output_dir or str(self.args.output_dir))
            folder.mkdir(parents=True, exist_ok=True)
            tensors = {
                # Buffers may share memory with each other.
                name: one.detach().clone(memory_format=torch.contiguous_format)
                for name, one in self._state().items()
            }
            save_file(tensors, folder / _WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        tensors = load_file(Path(resume_from_checkpoint) / _WEIGHTS)
        with torch.no_grad():
            for name, one in self._state().items():
                one.copy_(tensors[name])

    def _state(self) -> dict[str, Tensor]:
        model: nn.Module = self.accelerator.unwrap_model(self.model)
        trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
        return {**trained, **dict(model.named_buffers())}


class _Watch(TrainerCallback):
    """The progress bar, and a loss that must be a number."""

    def __init__(self) -> None:
        self.bar = progress_bar()
        self._task: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        announce("Training", state.max_steps)
        self._task = self.bar.add_task(
            "Training", total=state.max_steps, completed=state.global_step
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.update(self._task, completed=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise ModelError(
                f"The loss at step {state.global_step} is {loss}: training has gone wrong. Give a "
                "smaller --learning-rate, or wider numbers (--dtype float32), and another -o."
            )
