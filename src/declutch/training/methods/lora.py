"""``lora``: the product of two narrow matrices, added to each weight matrix (PEFT)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn
from transformers import PreTrainedModel

from declutch.errors import ModelError
from declutch.extras import require
from declutch.models.matrices import find_matrices
from declutch.progress import log
from declutch.training.method import TRAININGS


def peft(why: str) -> Any:
    """The package, or what to install."""
    return require("peft", extra="train", why=why)


@TRAININGS.register("lora")
@dataclass(frozen=True)
class Lora:
    """LoRA (Hu et al. 2022): ``W + (alpha / rank)·BA``; saved in PEFT's own format."""

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    target_modules: str = "all"
    learning_rate: ClassVar[float] = 2e-4
    adapter: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True
    use_dora: ClassVar[bool] = False

    def attach(self, model: PreTrainedModel) -> nn.Module:
        """A PeftModel around the model, whose own weights are frozen.

        Raises:
            ModelError: none of the target's matrices is a plain linear map.
        """
        matrices = find_matrices(model, self.target_modules).matrices
        modules = [one.module for one in matrices if one.linear and one.expert is None]
        if not modules:
            raise ModelError(
                f"None of the {len(matrices)} weight matrices of the target "
                f"«{self.target_modules}» is a plain linear map, and an adapter goes on no other. "
                "Give another --target-modules, or --method full."
            )
        if others := len(matrices) - len(modules):
            log.warning(
                "%d weight matrices of the target get no adapter: they are no plain linear maps "
                "(experts stacked in one parameter, routers).", others,
            )  # fmt: skip
        package = peft("training an adapter")
        config = package.LoraConfig(
            r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout,
            target_modules=modules, use_dora=self.use_dora, task_type="CAUSAL_LM",
        )  # fmt: skip
        with warnings.catch_warnings(action="ignore"):  # what it says is for its own developers
            adapted: nn.Module = package.get_peft_model(model, config)
        return adapted

    def save(self, trained: nn.Module, folder: Path) -> None:
        """``adapter_model.safetensors`` and ``adapter_config.json``."""
        # Left to find out whether embeddings were trained, PEFT asks the hub.
        trained.save_pretrained(folder, save_embedding_layers=False)  # type: ignore[operator]

    def used(self, trained: nn.Module) -> PreTrainedModel:
        """The model with the product added to its weights."""
        return merged(trained)


def merged(adapted: Any) -> PreTrainedModel:
    """A PeftModel's model, with the adapter in its weights."""
    model: PreTrainedModel = adapted.merge_and_unload()
    model.eval()
    return model
