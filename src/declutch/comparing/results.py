"""What an evaluation found: metrics with counts and intervals, and how they were obtained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from declutch.comparing import statistics
from declutch.errors import SettingsError
from declutch.files import write_json
from declutch.records import Record, read_record
from declutch.versions import versions as installed_versions

FORMAT_VERSION = 1
FILE_NAME = "results.json"

Better = Literal["higher", "lower", "none"]
Group = Literal[
    "awareness",
    "over_refusal",
    "reply_kinds",
    "agreement",
    "margin",
    "perplexity",
    "capability",
    "dependence",
    "wording",
]


class Metric(Record):
    """One number with its count and its 95 % interval.

    Attributes:
        name: unique among a result's metrics, as ``awareness/fairness/heuristic``.
        value: None where ``total`` is 0.
        count: successes, for proportions only.
        total: what the number was taken over: replies, pairs or texts.
        better: the direction that is an improvement.
    """

    name: str
    group: Group
    dimension: str | None = None
    judge: str | None = None
    kind: Literal["proportion", "mean", "perplexity"]
    value: float | None
    count: int | None = None
    total: int
    low: float | None
    high: float | None
    better: Better = "none"
    note: str = ""


class GuardRecord(Record):
    """One guard on one metric, and whether it held.

    Attributes:
        guard: as the user wrote it.
        metric: the metric it was checked on; empty where it names none that was measured.
        shown: whether the 95 % interval as a whole lies on the right side.
        held: the outcome in this mode.
        value: what was compared: the metric's value, or its difference from the baseline.
        limit: what it was compared with, in the same unit.
        low, high: the 95 % interval of ``value``.
        reason: in words, with the numbers.
    """

    guard: str
    metric: str
    mode: Literal["lenient", "strict"]
    held: bool
    shown: bool
    value: float | None
    limit: float | None
    low: float | None
    high: float | None
    reason: str


class ModelRecord(Record):
    """Which model was evaluated.

    The same fields as :class:`declutch.models.identity.ModelInfo`, without torch: results are read
    where no model is. With a patch, the fingerprint is that of the model it was made for.
    """

    id: str
    revision: str | None = None
    fingerprint: str
    dtype: str


class PatchRecord(Record):
    """Which patch the model carried."""

    path: str | None = None
    rule: str | None = None
    ratio: float | None = None
    scale: float
    weights: int
    checksum: str


class Results(Record):
    """All that ``results.json`` holds."""

    format_version: Literal[1] = 1
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    model: ModelRecord
    patch: PatchRecord | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=installed_versions)
    metrics: tuple[Metric, ...] = ()
    guards: tuple[GuardRecord, ...] = ()

    def metric(self, name: str) -> Metric:
        """The metric of that name.

        Raises:
            SettingsError: there is none.
        """
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise SettingsError(
            f"There is no metric «{name}» in these results. They hold: "
            f"{', '.join(metric.name for metric in self.metrics) or 'none'}."
        )

    def save(self, directory: Path) -> Path:
        """Write ``results.json`` into a folder, atomically; return its path."""
        path = Path(directory) / FILE_NAME
        write_json(path, self.model_dump(mode="json"))
        return path

    @classmethod
    def load(cls, directory: Path) -> Results:
        """Read ``results.json`` from a folder.

        Raises:
            FileFormatError: it is missing, damaged, or of a version that this release can't read.
        """
        return read_record(Path(directory) / FILE_NAME, cls, FORMAT_VERSION)


def proportion(
    name: str,
    count: int,
    total: int,
    *,
    group: Group,
    dimension: str | None = None,
    judge: str | None = None,
    better: Better = "none",
    note: str = "",
) -> Metric:
    """A share with its Wilson interval; value and interval are None where there is nothing."""
    interval = statistics.wilson(count, total) if total else None
    return Metric(
        name=name,
        group=group,
        dimension=dimension,
        judge=judge,
        kind="proportion",
        value=count / total if total else None,
        count=count,
        total=total,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        better=better,
        note=note,
    )


def mean(
    name: str,
    values: Sequence[float],
    *,
    group: Group,
    seed: int = 0,
    dimension: str | None = None,
    judge: str | None = None,
    better: Better = "none",
    note: str = "",
) -> Metric:
    """A mean with its bootstrap interval; value and interval are None where there is nothing."""
    interval = statistics.mean_interval(values, seed) if values else None
    return Metric(
        name=name,
        group=group,
        dimension=dimension,
        judge=judge,
        kind="mean",
        value=math.fsum(values) / len(values) if values else None,
        total=len(values),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        better=better,
        note=note,
    )


def perplexity(
    name: str,
    nll: Sequence[float],
    tokens: Sequence[int],
    *,
    seed: int = 0,
    dimension: str | None = None,
    note: str = "",
) -> Metric:
    """exp(Σ NLL / Σ tokens) over texts, with a bootstrap interval over the texts.

    Args:
        nll: summed NLL of each text, in nats.
        tokens: predicted tokens of each text.
    """
    interval = statistics.ratio_interval(nll, tokens, seed) if nll else None
    return Metric(
        name=name,
        group="perplexity",
        dimension=dimension,
        kind="perplexity",
        value=math.exp(math.fsum(nll) / sum(tokens)) if nll else None,
        total=len(nll),
        low=math.exp(interval.low) if interval else None,
        high=math.exp(interval.high) if interval else None,
        better="lower",
        note=note,
    )
