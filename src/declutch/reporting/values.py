"""What a report is made of: plain values, independent of the classes that produced them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from declutch.comparing.enough import TOO_FEW, too_few

# The order in which groups are shown; groups that are not named here follow, as they come.
GROUP_TITLES = {
    "awareness": "Awareness",
    "over_refusal": "Over-refusal",
    "reply_kinds": "Kinds of replies",
    "agreement": "Agreement of judges",
    "margin": "Preference margin",
    "perplexity": "Perplexity",
    "capability": "Capability",
    "dependence": "Dependence by layer",
    "wording": "Wording",
}
GROUP_NOTES = {
    "awareness": "share of replies that a judge calls aware; higher is better",
    "over_refusal": "share of harmless prompts that are refused; lower is better",
    "reply_kinds": "counted apart, so that awareness can be read rightly",
    "agreement": "Cohen's kappa: 0 is chance, 1 is full agreement",
    "margin": "log-probability per token of the good response minus that of the bad one",
    "perplexity": "on general text; lower is better",
}
# A layer's number in a metric's name: ``dependence/cka/layer_12``, ``dependence/hsic/12``.
LAYER = re.compile(r"(?:^|/)(?:layer[ _-]?)?(\d+)(?=/|$)")


@dataclass(frozen=True, slots=True)
class Metric:
    """One number with its count and 95 % interval; fields as in ``results.json``."""

    name: str
    group: str
    kind: str
    value: float | None
    total: int
    count: int | None = None
    low: float | None = None
    high: float | None = None
    dimension: str | None = None
    judge: str | None = None
    too_few: bool = False
    better: str = "none"
    note: str = ""

    @classmethod
    def of(cls, source: Any) -> Metric:
        """Take the fields from an object or a mapping that has them."""
        values = {name: _field(source, name) for name in cls.__dataclass_fields__}
        defaults = {"too_few": False, "better": "none", "note": ""}
        return cls(**{**values, **{k: values[k] or v for k, v in defaults.items()}})

    @property
    def group_title(self) -> str:
        return GROUP_TITLES.get(self.group, self.group.replace("_", " ").capitalize())

    @property
    def label(self) -> str:
        """The name without its group, in words: ``awareness/fairness/x`` → «fairness · x»."""
        first, *rest = self.name.split("/")
        if self.group == "margin":
            first = "above 0" if first == "margin_positive" else "mean"
        elif first == self.group:
            first = ""
        parts = [*rest, first] if self.group == "margin" else [first, *rest]
        return " · ".join(part.replace("_", " ") for part in parts if part) or self.name


@dataclass(frozen=True, slots=True)
class Row:
    """One metric before and after, compared item by item.

    Attributes:
        difference: after minus before, with its 95 % interval ``low`` to ``high``; None where
            the two can't be compared.
        n_pairs: items that both sides have.
        p_holm: the same, adjusted for the number of tests made.
        gained: items with no before and yes after; ``lost`` the other way (proportions only).
    """

    name: str
    before: Metric | None
    after: Metric | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    n_pairs: int | None = None
    gained: int | None = None
    lost: int | None = None
    p_holm: float | None = None

    @classmethod
    def of(cls, source: Any) -> Row:
        """Take the fields from a row of a comparison, whatever its class."""
        values = {name: _field(source, name) for name in cls.__dataclass_fields__}
        for side in ("before", "after"):
            values[side] = None if values[side] is None else Metric.of(values[side])
        values["name"] = values["name"] or _field(source, "metric")
        return cls(**values)

    @property
    def metric(self) -> Metric:
        """Whichever side there is: for the name, the group and the direction."""
        side = self.after or self.before
        assert side is not None, "a row has at least one side"
        return side

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval of the difference lies on one side of 0 (p where there is none)."""
        if not self.difference or self.too_few:
            return False
        if self.low is None or self.high is None:
            return self.p is not None and self.p < 0.05
        return self.low > 0 or self.high < 0

    @property
    def too_few(self) -> bool:
        """Whether it was compared on too few items to tell a change from chance."""
        return too_few(self.n_pairs)

    @property
    def tested(self) -> bool:
        """Whether there is anything by which a change could be told from chance."""
        return (
            not self.too_few
            and self.difference is not None
            and not (self.low is None and self.p is None)
        )

    @property
    def _same(self) -> bool:
        """Whether every single item came out the same."""
        if self.gained is not None:
            return not self.gained and not self.lost
        return self.difference == 0 and not self.low and not self.high

    @property
    def reading(self) -> str:
        """better, worse, higher, lower, within noise, no change, or why none of these can be said.

        Something bad is called so as soon as its interval excludes 0; something good needs the
        paired test too (p < 0.05, the exact test where the two differ near the border).
        """
        if self.too_few:
            return TOO_FEW
        if self.difference is None:
            return "not compared"
        if not self.tested:
            return "not tested"
        if self._same:
            return "no change"
        if not self.excludes_zero:
            return "within noise"
        if self.metric.better not in ("higher", "lower"):
            return "higher" if self.difference > 0 else "lower"
        if (self.difference > 0) != (self.metric.better == "higher"):
            return "worse"
        return "better" if self.p is None or self.p < 0.05 else "within noise"


# Facts of a patch that a report takes as they are.
_TAKEN = ("rule", "ratio", "scale", "scope", "target_modules", "checksum")


@dataclass(frozen=True, slots=True)
class PatchSummary:
    """What a patch holds, without its tensors.

    Attributes:
        counts: weights for each (layer, matrix kind) that was targeted, zeros included.
        targeted: entries in all targeted matrices together.
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
    model_id: str
    checksum: str
    notes: tuple[str, ...] = ()

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
            model_id=info.model.id,
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
class Reply:
    """One reply and what the judges said of it; ``cut`` where the token limit ended it."""

    text: str
    verdicts: Mapping[str, str]
    cut: bool


@dataclass(frozen=True, slots=True)
class ReplyPair:
    """The replies to one prompt before and after."""

    suite: str
    set: str
    id: str
    prompt: str
    before: Reply
    after: Reply


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
        notes: what a reader of the comparison must know, in plain sentences.
        margins: for each set, the margin of each pair before and after.
        settings: by step («score», «evaluate»), nested as in the files.
        model_parameters: of the saved checkpoint; None where there is none.
    """

    out: Path
    created: str
    model_id: str
    revision: str | None
    fingerprint: str
    dtype: str
    patch: PatchSummary
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    replies: tuple[ReplyPair, ...] = ()
    margins: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    scored: tuple[ScoredData, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    model_parameters: int | None = None

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The coupled dimensions, which the verdict is about."""
        return self.patch.coupled

    def group(self, name: str) -> list[Row]:
        """The rows of one group, in the order in which they are shown."""
        return grouped(self.rows).get(name, [])


def grouped(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by group, the known groups first and in their order; like beside like within one."""
    names = dict.fromkeys([*GROUP_TITLES, *(row.metric.group for row in rows)])
    groups = {name: [row for row in rows if row.metric.group == name] for name in names}
    return {name: _like_beside_like(members) for name, members in groups.items() if members}


def _like_beside_like(rows: list[Row]) -> list[Row]:
    """Judges of one dimension together, kinds of replies together; otherwise as they came."""

    def key(row: Row) -> str:
        if row.metric.group == "reply_kinds":
            return row.name.split("/")[0]
        return row.metric.dimension or row.name

    if any(LAYER.search(row.name) for row in rows):
        return rows
    order = list(dict.fromkeys(key(row) for row in rows))
    return sorted(rows, key=lambda row: order.index(key(row)))


def layer_series(rows: Sequence[Row]) -> dict[str, list[tuple[int, Row]]]:
    """Rows whose names differ in a layer number only, by the name without it.

    Series of fewer than three layers are left out: they are read better as single rows.
    """
    series: dict[str, list[tuple[int, Row]]] = {}
    for row in rows:
        match = LAYER.search(row.name)
        if match:
            series.setdefault(LAYER.sub("", row.name, count=1), []).append(
                (int(match.group(1)), row)
            )
    return {
        name: sorted(points, key=lambda point: point[0])
        for name, points in series.items()
        if len(points) >= 3
    }


def _field(source: Any, name: str) -> Any:
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
