"""``training.json``: what was trained from what, and how the loss fell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from declutch.models.identity import ModelInfo
from declutch.records import Record

FORMAT_VERSION = 1
TRAINING_FILE = "training.json"


@dataclass(frozen=True, slots=True)
class Step:
    """An optimizer step: the mean loss of its response tokens before it, and how far it went."""

    step: int
    loss: float
    learning_rate: float
    grad_norm: float | None = None


class TrainedData(Record):
    """The examples of a dimension; ``counted_tokens`` are those that the loss counts."""

    source: str
    sha256: str
    tokens_sha256: str
    examples: int
    tokens: int
    counted_tokens: int


class Protected(Record):
    """Weights that were held: those of a patch, which lies in ``protected``."""

    checksum: str
    weights: int
    value: str


class TrainingRecord(Record):
    """The whole.

    Attributes:
        made_from: all that decides the outcome; the same is gone on with, another is refused.
        trainable: numbers that were trained, of ``parameters``.
        seconds: of the call that finished it.
        files: SHA-256 by name of what was trained, once it is.
    """

    format_version: int = FORMAT_VERSION
    model: ModelInfo
    method: str
    made_from: dict[str, Any]
    data: dict[str, TrainedData]
    protected: Protected | None = None
    trainable: int = 0
    parameters: int = 0
    steps: tuple[Step, ...] = ()
    seconds: float = 0.0
    versions: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str] | None = None
