"""What an evaluation found: metrics with counts and intervals, and how they were obtained."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from declutch.comparing.enough import too_few
from declutch.errors import FileFormatError, SettingsError
from declutch.files import read_json, sha256_file, sha256_json, write_json
from declutch.records import Record, parse_record
from declutch.versions import versions as installed_versions

FORMAT_VERSION = 1
FILE_NAME = "results.json"

Better = Literal["higher", "lower", "none"]
Role = Literal["outcome", "side effect", "explanation"]
PromptKind = Literal["awareness", "over_refusal", "choice"]


class MeasureFacts(Record):
    """What a reader is told of a measure; recorded, so that results can be read without it.

    Attributes:
        name: what its metrics are grouped by.
        title, note: in words.
        role: ``outcome`` is what a patch is for, and the headline speaks of; a ``side effect`` is
            what must not be lost, and the headline names it where it is; an ``explanation`` is
            looked through for reasons.
        family: whose tests are adjusted together (Holm); its own where it is empty.
        worse: what to say where a side effect got worse; ``{of}`` stands for what it is a metric
            of, as in «harmless {of} prompts were refused more often».
        items: what one of its items is called: prompt, text.
        quiet: whether a metric that did not change is left out of short tables.
    """

    name: str = ""
    title: str = ""
    note: str = ""
    role: Role = "explanation"
    family: str = ""
    worse: str = ""
    items: str = "item"
    quiet: bool = False


class SetFacts(Record):
    """One set of prompts that was replied to.

    Attributes:
        label: how metrics call it.
    """

    suite: str
    set: str
    kind: PromptKind
    dimension: str
    label: str
    prompts: int


class Metric(Record):
    """One number with its count and its 95 % interval.

    A number that is not finite becomes None and is named in the note: a model that gives one such
    item must not cost the evaluation. Where there are too few items, the interval is None.

    Attributes:
        name: unique among a result's metrics, as ``awareness/fairness/heuristic``.
        group: the measure that it belongs to.
        label: what it is called among those of its measure; made of the name where none is given.
        value: None where ``total`` is 0, or where there is no finite number.
        count: successes, for proportions only.
        total: what the number was taken over: replies, pairs or texts.
        clusters: how many clusters these are in, where some are not independent of each other.
        too_few: whether these are too few to tell, see :mod:`declutch.comparing.enough`.
        better: the direction that is an improvement.
    """

    name: str
    group: str
    label: str = ""
    dimension: str | None = None
    judge: str | None = None
    kind: Literal["proportion", "mean", "perplexity"]
    value: float | None
    count: int | None = None
    total: int
    low: float | None
    high: float | None
    clusters: int | None = None
    too_few: bool = False
    better: Better = "none"
    note: str = ""

    @property
    def independent(self) -> int:
        """How many independent things the number was taken over: clusters, or items."""
        return self.total if self.clusters is None else self.clusters

    @property
    def said(self) -> str:
        """Its name in a sentence, such as «awareness, fairness · heuristic»."""
        return f"{self.group.replace('_', ' ')}, {self.label}"

    @model_validator(mode="before")
    @classmethod
    def _sayable(cls, values: Any) -> Any:
        """Without what can't be said: see the class."""
        if not isinstance(values, dict) or not isinstance(values.get("total"), int):
            return values
        clusters = values.get("clusters")
        values = {**values, "too_few": too_few(values["total"] if clusters is None else clusters)}
        if not values.get("label"):
            values["label"] = _label(str(values.get("name")), str(values.get("group")))
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


def _label(name: str, group: str) -> str:
    """The name without its group, in words: ``awareness/fairness/x`` → «fairness · x»."""
    first, *rest = name.split("/")
    parts = [*([] if first == group else [first]), *rest]
    return " · ".join(part.replace("_", " ") for part in parts if part) or name


def _finite(value: Any) -> bool:
    """Whether JSON has a number for it; True for what is no number at all, which others check."""
    return not isinstance(value, float) or math.isfinite(value)


class CheckRecord(Record):
    """One release check (a guard on one metric), and whether it held.

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
    held: bool = False
    shown: bool = False
    value: float | None = None
    limit: float | None = None
    low: float | None = None
    high: float | None = None
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
    measures: dict[str, MeasureFacts] = Field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    guards: tuple[CheckRecord, ...] = ()

    @property
    def sets(self) -> list[SetFacts]:
        """The prompt sets that were replied to."""
        return [SetFacts(**each) for each in self.settings.get("sets", ())]

    @property
    def outcomes(self) -> set[str]:
        """Names of the measures that a patch is for."""
        return {name for name, facts in self.measures.items() if facts.role == "outcome"}

    def measure_of(self, metric: Metric) -> MeasureFacts:
        """What a reader is told of the measure that a metric belongs to."""
        title = metric.group.replace("_", " ").capitalize()
        return self.measures.get(metric.group) or MeasureFacts(name=metric.group, title=title)

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
