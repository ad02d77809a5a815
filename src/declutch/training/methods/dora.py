"""``dora``: LoRA on the direction of each row, and its length trained apart (PEFT)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from declutch.training.method import TRAININGS
from declutch.training.methods.lora import Lora


@TRAININGS.register("dora")
@dataclass(frozen=True)
class Dora(Lora):
    """DoRA (Liu et al. 2024): ``m·V / ‖V‖`` row by row, with ``V = W + (alpha / rank)·BA``."""

    use_dora: ClassVar[bool] = True
