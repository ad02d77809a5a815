"""``full``: every weight of the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn
from transformers import PreTrainedModel

from declutch.progress import log
from declutch.training.method import TRAININGS


@TRAININGS.register("full")
@dataclass(frozen=True)
class Full:
    """Full fine-tuning; a checkpoint is written."""

    learning_rate: ClassVar[float] = 1e-5
    adapter: ClassVar[bool] = False
    mergeable: ClassVar[bool] = False

    def attach(self, model: PreTrainedModel) -> nn.Module:
        """The model itself."""
        if model.dtype != torch.float32:
            log.warning(
                "The weights are in %s, in which small changes of a weight are lost. Train in "
                "float32 (--dtype float32), with --bf16 if the computing is to be in bfloat16.",
                str(model.dtype).removeprefix("torch."),
            )
        return model.requires_grad_(True)

    def save(self, trained: nn.Module, folder: Path) -> None:
        """Nothing: there is no adapter."""

    def used(self, trained: nn.Module) -> PreTrainedModel:
        """The model itself."""
        assert isinstance(trained, PreTrainedModel)
        return trained
