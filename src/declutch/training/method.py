"""What a training method is: how a model is made trainable, and what is kept of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from torch import nn
from transformers import PreTrainedModel

from declutch.errors import SettingsError
from declutch.registry import Registry
from declutch.settings import TrainSettings

OPTIONS = ("rank", "alpha", "dropout", "target_modules", "layers", "first", "last")


@runtime_checkable
class Training(Protocol):
    """A way to train a model.

    Attributes:
        learning_rate: where none is asked for.
        adapter: it leaves the model's weights as they are and trains others, which are saved
            alone; else the whole checkpoint is written.
        mergeable: the adapter can become a part of the model's weights.
    """

    learning_rate: ClassVar[float]
    adapter: ClassVar[bool]
    mergeable: ClassVar[bool]

    def attach(self, model: PreTrainedModel) -> nn.Module:
        """Make a model trainable; what is to be trained, with a gradient where it is wanted."""

    def save(self, trained: nn.Module, folder: Path) -> None:
        """Write an adapter into a folder."""

    def used(self, trained: nn.Module) -> PreTrainedModel:
        """The model as it is judged: with the adapter merged, or on it."""


# What makes a method, given those of :data:`OPTIONS` that its parameters name; the others can't be
# asked of it.
TRAININGS: Registry[Callable[..., Training]] = Registry(
    "training", "declutch.training.methods", "--method"
)


def get_training(settings: TrainSettings) -> Training:
    """The method that is asked for, with its options.

    Raises:
        SettingsError: it is unknown, or an option does not go with it.
    """
    make = TRAININGS.get(settings.method)
    taken = inspect.signature(make).parameters
    given = {n: value for n in OPTIONS if (value := getattr(settings, n)) not in (None, ())}
    if other := [name for name in given if name not in taken]:
        raise SettingsError(
            f"--{other[0].replace('_', '-')} does not go with --method {settings.method}."
        )
    method: Training = TRAININGS.call(settings.method, make, Training, **given)
    if settings.merge and not method.mergeable:
        why = "is no adapter" if not method.adapter else "changes activations, not weights"
        raise SettingsError(f"--merge: what --method {settings.method} trains {why}. Leave it out.")
    return method
