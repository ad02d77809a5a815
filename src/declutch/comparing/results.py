"""What an evaluation found: metrics with counts and intervals, and how they were obtained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from declutch.errors import FileFormatError, SettingsError
from declutch.comparing import statistics
from declutch.comparing.enough import too_few
from declutch.files import read_json, sha256_file, sha256_json, write_json
from declutch.records import Record, parse_record
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

    A number that is not finite becomes None and is named in the note: a model that gives one such
    item must not cost the evaluation. Where there are too few items, the interval is None.

    Attributes:
        name: unique among a result's metrics, as ``awareness/fairness/heuristic``.
        value: None where ``total`` is 0, or where there is no finite number.
        count: successes, for proportions only.
        total: what the number was taken over: replies, pairs or texts.
        too_few: whether these are too few to tell, see :mod:`declutch.comparing.enough`.
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
    too_few: bool = False
    better: Better = "none"
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def _sayable(cls, values: Any) -> Any:
        """Without what can't be said: see the class."""
        if not isinstance(values, dict) or not isinstance(values.get("total"), int):
            return values
        values = {**values, "too_few": too_few(values["total"])}
        if not _finite(values.get("value")):
            note = "; ".join(part for part in (values.get("note"), "not a finite number") if part)
            values |= {"value": None, "low": None, "high": None, "note": note}
        elif values["too_few"] or not (_finite(values.get("low")) and _finite(values.get("high"))):
            values |= {"low": None, "high": None}
        return values

    @model_validator(mode="after")
    def _possible(self) -> Metric:
        """Refuse what no evaluation can find."""
        if self.total < 0 or not 0 <= (self.count or 0) <= self.total:
            raise ValueError(f"{self.name}: a count of {self.count} of {self.total}")
        if (self.low is None) != (self.high is None):
            raise ValueError(f"{self.name}: an interval with one end")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"{self.name}: an interval from {self.low:g} to {self.high:g}")
        if self.count is not None and self.total:
            share = self.count / self.total
            if self.value is None or not math.isclose(self.value, share):
                raise ValueError(f"{self.name}: {self.value} is not {self.count}/{self.total}")
        return self


def _finite(value: Any) -> bool:
    """Whether JSON has a number for it; True for what is no number at all, which others check."""
    return not isinstance(value, float) or math.isfinite(value)


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

    @model_validator(mode="after")
    def _once_each(self) -> Results:
        names = [metric.name for metric in self.metrics]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"metrics that are there twice: {', '.join(doubled)}")
        return self

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
        """Write ``results.json`` into a folder, atomically; return its path.

        With it go the hash of each file of items there, and one of the whole, so that a number
        changed afterwards is found out.
        """
        directory = Path(directory)
        value = self.model_dump(mode="json")
        value["items"] = {
            path.name: sha256_file(path) for path in sorted(directory.glob("*.jsonl"))
        }
        write_json(directory / FILE_NAME, {**value, "checksum": sha256_json(value)})
        return directory / FILE_NAME

    @classmethod
    def load(cls, directory: Path, *, items: bool = False) -> Results:
        """Read ``results.json`` from a folder.

        Args:
            items: see too that the files of items beside it are those that it was made from.

        Raises:
            FileFormatError: it is missing, damaged, changed since it was written, or of a version
                that this release can't read.
        """
        path = Path(directory) / FILE_NAME
        value = read_json(path)
        ours = isinstance(value, dict) and value.get("format_version") == FORMAT_VERSION
        checksum = value.pop("checksum", None) if ours else None
        found = sha256_json(value)
        hashes = value.pop("items", None) if ours else None
        results = parse_record(value, path, cls, FORMAT_VERSION)
        if checksum != found or not isinstance(hashes, dict):
            raise FileFormatError(
                f"{path} was changed since it was written, or comes from an earlier version: its "
                f"checksum {'is missing' if checksum is None else 'differs'}. {_AGAIN}"
            )
        if items:
            _check_items(path, hashes)
        return results


_AGAIN = (
    "Evaluate again into the same folder: the replies and outcomes that are there are used again."
)


def _check_items(path: Path, hashes: dict[str, str]) -> None:
    for name, expected in hashes.items():
        file = path.with_name(name)
        if not file.is_file():
            raise FileFormatError(f"{file} does not exist, and {path} was made from it. {_AGAIN}")
        if sha256_file(file) != expected:
            raise FileFormatError(
                f"{file} is not what {path} was made from: it was changed since, or an evaluation "
                f"was interrupted. {_AGAIN}"
            )


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
    interval = statistics.wilson(count, total) if total and not too_few(total) else None
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
    known = bool(values) and all(map(math.isfinite, values))
    interval = (
        statistics.mean_interval(values, seed) if known and not too_few(len(values)) else None
    )
    return Metric(
        name=name,
        group=group,
        dimension=dimension,
        judge=judge,
        kind="mean",
        value=_mean(values, known=known),
        total=len(values),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        better=better,
        note=note,
    )


def _mean(values: Sequence[float], *, known: bool) -> float | None:
    """NaN where there are values and not all are finite; what becomes of it is up to the metric."""
    if known:
        return math.fsum(values) / len(values)
    return math.nan if values else None


def perplexity(
    name: str,
    nll: Sequence[float],
    tokens: Sequence[int],
    *,
    group: Group = "perplexity",
    seed: int = 0,
    dimension: str | None = None,
    note: str = "",
) -> Metric:
    """exp(Σ NLL / Σ tokens) over texts, with a bootstrap interval over the texts.

    Args:
        nll: summed NLL of each text, in nats.
        tokens: predicted tokens of each text.
    """
    known = sum(tokens) > 0 and all(map(math.isfinite, nll))
    interval = None
    if known and not too_few(len(nll)):
        interval = statistics.ratio_interval(nll, tokens, seed)
    value = _exp(math.fsum(nll) / sum(tokens)) if known else math.nan
    return Metric(
        name=name,
        group=group,
        dimension=dimension,
        kind="perplexity",
        value=value if nll else None,
        total=len(nll),
        low=_exp(interval.low) if interval else None,
        high=_exp(interval.high) if interval else None,
        better="lower",
        note=note,
    )


def _exp(value: float) -> float:
    """Infinite where the result is beyond a float, which a ruined model reaches."""
    return math.exp(value) if value < 700 else math.inf
