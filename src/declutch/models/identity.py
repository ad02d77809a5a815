"""What is recorded of a model and of its weight matrices."""

from __future__ import annotations

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


def describe(model: nn.Module, identity: str | None = None) -> ModelInfo:
    """Identify a model that is in memory."""
    config = getattr(model, "config", None)
    name = identity or getattr(config, "_name_or_path", "") or type(model).__name__
    return ModelInfo(
        id=name,
        revision=getattr(config, "_commit_hash", None),
        fingerprint=fingerprint(model),
        dtype=str(next(model.parameters()).dtype).removeprefix("torch."),
    )
