"""What is recorded of a model and of its weight matrices."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from torch import nn

from declutch.models.fingerprint import fingerprint
from declutch.records import Record


class ModelInfo(Record):
    """Which model: where it came from, and what its weights are."""

    id: str
    revision: str | None = None
    fingerprint: str
    dtype: str


class MatrixInfo(Record):
    """One weight matrix: its shape ``(out, in)``, decoder block and kind."""

    shape: tuple[int, int]
    layer: int
    kind: str

    @property
    def numel(self) -> int:
        """Number of neurons."""
        return self.shape[0] * self.shape[1]


# What the models of this process were loaded as: a config knows the folder they lay in at best.
_LOADED_AS: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def describe(model: nn.Module, identity: str | None = None, known: str | None = None) -> ModelInfo:
    """Identify a model that is in memory.

    Args:
        identity: what it was loaded as; kept for as long as the model is.
        known: its fingerprint, where it has been taken.
    """
    if identity is not None:
        _LOADED_AS[model] = identity
    config = getattr(model, "config", None)
    named = _LOADED_AS.get(model) or getattr(config, "_name_or_path", "")
    return ModelInfo(
        id=str(named or type(model).__name__),
        revision=getattr(config, "_commit_hash", None),
        fingerprint=known or fingerprint(model),
        dtype=str(next(model.parameters()).dtype).removeprefix("torch."),
    )
