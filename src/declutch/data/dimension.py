"""The examples of a dimension, from wherever a caller has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from declutch.data.example import Example
from declutch.data.held import Rows, are_examples, checked_examples
from declutch.data.loading import LoadedData, LoadReport, examples_sha256, load_examples
from declutch.data.sources import Source
from declutch.settings import SampleSettings

DataLike = LoadedData | Source | str | Path | Sequence[Example] | Rows


@dataclass(frozen=True)
class LoadedDimension:
    """The examples of a dimension and what is recorded of them."""

    examples: Sequence[Example]
    source: str
    sha256: str
    report: LoadReport | None = None


def load_dimension(name: str, value: DataLike, settings: SampleSettings) -> LoadedDimension:
    """Read a source and sample it; a list of examples is used as it is.

    Raises:
        DataError: see :func:`declutch.data.loading.load_examples`.
    """
    if are_examples(value):
        checked_examples(value, f"The data of «{name}»")
        return LoadedDimension(value, "memory", examples_sha256(value))
    if not isinstance(value, LoadedData):
        value = load_examples(
            value,
            num_samples=settings.num_samples,
            seed=settings.seed,
            allow_fewer=settings.allow_fewer,
        )
    return LoadedDimension(value.examples, str(value.source), value.sha256, value.report)
