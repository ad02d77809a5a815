"""What a report is made of: plain values, independent of the classes that produced them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declutch.comparing.comparison import Comparison, ComparisonRow
from declutch.comparing.results import MeasureFacts, ModelRecord

if TYPE_CHECKING:
    from declutch.patching.units import ChosenUnit
    from declutch.stability import Stability
    from declutch.training.record import TrainingRecord
    from declutch.tuning.record import TuneRecord

# A layer's number in a metric's name: ``dependence/cka/layer_12``, ``dependence/hsic/12``.
LAYER = re.compile(r"(?:^|/)(?:layer[ _-]?)?(\d+)(?=/|$)")


# Facts of a patch that a report takes as they are.
_TAKEN = (
    "rule", "ratio", "scale", "scope", "target_modules", "checksum", "granularity", "units",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PatchSummary:
    """What a patch holds, without its tensors.

    Attributes:
        counts: weights for each (layer, matrix kind) that was targeted, zeros included.
        targeted: entries in all targeted matrices together.
        units: the whole neurons, heads or experts, where those were chosen.
    """

    weights: int
    matrices: int
    targeted: int
    counts: Mapping[tuple[int, str], int]
    rule: str
    ratio: float | None
    scale: float
    scope: str
    coupled: tuple[str, ...]
    excluded: tuple[str, ...]
    target_modules: str
    checksum: str
    notes: tuple[str, ...] = ()
    granularity: str = "weight"
    units: Sequence[ChosenUnit] = ()

    @classmethod
    def of(cls, patch: Any) -> PatchSummary:
        """Summarise a patch: its ``info`` and ``indices``."""
        info = patch.info
        counts: Counter[tuple[int, str]] = Counter()
        for name, matrix in info.matrices.items():
            # Matrices that differ in their expert only are one cell.
            kind = re.sub(r"\[\d+\]$", "", name).rpartition(".")[2]
            counts[int(matrix.layer), kind] += len(patch.indices.get(name, ()))
        return cls(
            weights=len(patch),
            matrices=len(info.matrices),
            targeted=sum(int(math.prod(matrix.shape)) for matrix in info.matrices.values()),
            counts=dict(counts),
            coupled=tuple(info.coupled),
            excluded=tuple(info.excluded),
            notes=tuple(info.notes),
            **{name: getattr(info, name) for name in _TAKEN},
        )

    @property
    def layers(self) -> list[int]:
        return sorted({layer for layer, _ in self.counts})

    @property
    def kinds(self) -> list[str]:
        return list(dict.fromkeys(kind for _, kind in self.counts))

    def total(self, *, layer: int | None = None, kind: str | None = None) -> int:
        """Weights of one layer, of one kind, or of all."""
        return sum(
            count
            for (at, of), count in self.counts.items()
            if layer in (None, at) and kind in (None, of)
        )


@dataclass(frozen=True, slots=True)
class ScoredData:
    """What one dimension was scored on."""

    name: str
    source: str
    sha256: str
    examples: int
    tokens: int | None
    seconds: float | None


@dataclass(frozen=True)
class ReportInput:
    """All that a report shows.

    Attributes:
        settings: by step («score», «evaluate»), nested as in the files.
        model_parameters: of the saved checkpoint; None where there is none.
        stability: what other samples of the data give, where the run was made on several.
        tuned: how the patch was searched for; None where it was not.
        training: what trained the model that was evaluated; None where nothing did.
    """

    out: Path
    comparison: Comparison
    patch: PatchSummary
    scored: tuple[ScoredData, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    model_parameters: int | None = None
    stability: Stability | None = None
    tuned: TuneRecord | None = None
    training: TrainingRecord | None = None

    @property
    def rows(self) -> tuple[ComparisonRow, ...]:
        """All metrics before and after."""
        return self.comparison.rows

    @property
    def model(self) -> ModelRecord:
        """The model as it was."""
        return self.comparison.before.model

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The coupled dimensions, which the conclusion is about."""
        return self.patch.coupled

    @property
    def outcomes(self) -> list[ComparisonRow]:
        """The rows that a patch is for."""
        return self.comparison.outcomes

    def group(self, name: str) -> list[ComparisonRow]:
        """The rows of one measure, in the order in which they are shown."""
        return grouped(self.rows).get(name, [])


def grouped(rows: Sequence[ComparisonRow]) -> dict[str, list[ComparisonRow]]:
    """Rows by measure, like beside like within one."""
    groups: dict[str, list[ComparisonRow]] = {}
    for row in rows:
        groups.setdefault(row.metric.group, []).append(row)
    return {name: _like_beside_like(members) for name, members in groups.items()}


def _like_beside_like(rows: list[ComparisonRow]) -> list[ComparisonRow]:
    """Of one measure: what is called alike together, then what is of one dimension."""
    if any(LAYER.search(row.name) for row in rows):
        return rows
    kinds = {row.name.split("/")[0] for row in rows}
    several = len(kinds) > 2  # such as refused, empty, cut and repeated replies

    def key(row: ComparisonRow) -> str:
        return row.name.split("/")[0] if several else row.metric.dimension or row.name

    order = list(dict.fromkeys(key(row) for row in rows))
    return sorted(rows, key=lambda row: order.index(key(row)))


def layer_series(rows: Sequence[ComparisonRow]) -> dict[str, list[tuple[int, ComparisonRow]]]:
    """Rows whose names differ in a layer number only, by the name without it.

    Series of fewer than three layers are left out: they are read better as single rows.
    """
    series: dict[str, list[tuple[int, ComparisonRow]]] = {}
    for row in rows:
        if match := LAYER.search(row.name):
            name = LAYER.sub("", row.name, count=1)
            series.setdefault(name, []).append((int(match.group(1)), row))
    return {
        name: sorted(points, key=lambda point: point[0])
        for name, points in series.items()
        if len(points) >= 3
    }


def single_rows(rows: Sequence[ComparisonRow]) -> list[ComparisonRow]:
    """The rows that are in no :func:`layer_series`."""
    series = {row.name for points in layer_series(rows).values() for _, row in points}
    return [row for row in rows if row.name not in series]


@dataclass(frozen=True, slots=True)
class Section:
    """The rows of one measure, as the page and the card show them.

    Attributes:
        shown: what one looks for, and whatever changed.
        folded: of a quiet measure, what did not detectably change.
        layers: single layers, of which there may be hundreds.
        never: of a quiet measure, how many rows are of what never occurred; these are left out.
    """

    facts: MeasureFacts
    shown: Sequence[ComparisonRow]
    folded: Sequence[ComparisonRow]
    layers: Sequence[ComparisonRow]
    never: int


def sections(rows: Sequence[ComparisonRow]) -> list[Section]:
    """All rows, measure by measure."""
    return [_section(members) for members in grouped(rows).values()]


def _section(rows: list[ComparisonRow]) -> Section:
    parts: dict[str, list[ComparisonRow]] = {"shown": [], "folded": [], "never": []}
    single = single_rows(rows)
    for row in single:
        parts[_part(row)].append(row)
    names = {row.name for row in single}
    layers = [row for row in rows if row.name not in names]
    return Section(rows[0].measure, parts["shown"], parts["folded"], layers, len(parts["never"]))


def _part(row: ComparisonRow) -> str:
    if not row.measure.quiet:
        return "shown"
    if row.before.value == row.after.value == 0:
        return "never"
    return "folded" if row.reading in ("no change", "within noise") else "shown"
