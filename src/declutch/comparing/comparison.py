"""Two evaluations side by side: a row for each metric, and what it says."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from declutch.comparing import statistics
from declutch.comparing.enough import TOO_FEW, too_few
from declutch.comparing.kinds import Paired
from declutch.comparing.results import CheckRecord, MeasureFacts, Metric, Results
from declutch.errors import SettingsError

# Left out of JSON: the row's own sides are written whole, and the pairs are in the files of items.
_NOT_WRITTEN = ("before", "after", "pairs", "labels", "measure")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow(Paired):
    """One metric before and after, with all of :class:`declutch.comparing.kinds.Paired`.

    Where some items are left out of one side, the difference is not that of the two values shown.

    Attributes:
        p_holm: p adjusted by Holm for the number of tests of its family in this comparison.
        pairs: the values of each item before and after.
        labels: the cluster of each; none where items are independent.
        measure: what it is a metric of.
    """

    name: str
    before: Metric
    after: Metric
    p_holm: float | None = None
    pairs: tuple[tuple[Any, Any], ...] = field(default=(), repr=False)
    labels: tuple[Hashable, ...] = field(default=(), repr=False)
    measure: MeasureFacts = field(default_factory=MeasureFacts)

    @property
    def metric(self) -> Metric:
        """What is the same on both sides: the name, the dimension, the direction."""
        return self.after

    @property
    def too_few(self) -> bool:
        """Whether it was compared on too few items to tell a change from chance."""
        return too_few(self.independent)

    @property
    def independent(self) -> int:
        """How many independent things were compared: clusters, or items."""
        return self.n_pairs if self.clusters is None else self.clusters

    @property
    def tested(self) -> bool:
        """Whether there is anything by which a change could be told from chance."""
        told = self.low is not None or self.p is not None
        return told and not self.too_few and self.difference is not None

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval of the difference lies on one side of 0 (p where there is none)."""
        if not self.difference or self.too_few:
            return False
        if self.low is None or self.high is None:
            return self.p is not None and self.p < 0.05
        return self.low > 0 or self.high < 0

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
        if self.metric.better == "none":
            return "higher" if self.difference > 0 else "lower"
        if (self.difference > 0) != (self.metric.better == "higher"):
            return "worse"
        return "better" if self.p is None or self.p < 0.05 else "within noise"

    def as_json(self) -> dict[str, Any]:
        """The row as JSON values."""
        shown = {
            k: v
            for k, v in asdict(replace(self, pairs=(), labels=())).items()
            if k not in _NOT_WRITTEN
        }
        sides = {side: getattr(self, side).model_dump(mode="json") for side in ("before", "after")}
        return {"name": self.name, **shown, **sides}


@dataclass(frozen=True, slots=True)
class MeasureTable:
    """What a measure has to show beside its metrics, such as the phrases that shifted.

    Attributes:
        columns: their titles; the first one's cells are names, the others' numbers.
        rows: the cells in words.
        values: the same rows as JSON values, unrounded.
        note: what a reader must know to read it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    values: Sequence[Mapping[str, Any]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two evaluations side by side.

    Attributes:
        notes: what a reader must know, in plain sentences: items left out, metrics that only one
            side has, other differences between the two.
        checks: the release checks that were made on it, see :mod:`declutch.comparing.checks`.
        tables: by measure, what it has to show beside the rows.
        replies: the replies to each prompt that both have, before and after
            (:class:`declutch.replies.store.ReplyRow`).
    """

    before: Results
    after: Results
    rows: tuple[ComparisonRow, ...]
    notes: tuple[str, ...] = ()
    checks: tuple[CheckRecord, ...] = ()
    tables: Mapping[str, MeasureTable] = field(default_factory=dict)
    replies: tuple[tuple[Any, Any], ...] = field(default=(), repr=False)

    @property
    def outcomes(self) -> list[ComparisonRow]:
        """The rows that a patch is for."""
        return [row for row in self.rows if row.measure.role == "outcome"]

    def row(self, name: str) -> ComparisonRow:
        """The row of a metric.

        Raises:
            SettingsError: there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise SettingsError(
            f"There is no metric «{name}» in this comparison. It holds: "
            f"{', '.join(row.name for row in self.rows) or 'none'}."
        )

    def as_json(self) -> dict[str, Any]:
        """Models, patches, rows and notes as JSON values."""
        sides = {"model", "patch", "created"}
        return {
            "before": self.before.model_dump(mode="json", include=sides),
            "after": self.after.model_dump(mode="json", include=sides),
            "rows": [row.as_json() for row in self.rows],
            "notes": list(self.notes),
            "guards": [check.model_dump(mode="json") for check in self.checks],
            **{name: list(table.values) for name, table in self.tables.items()},
        }


def adjusted(rows: Sequence[ComparisonRow]) -> tuple[ComparisonRow, ...]:
    """The rows with Holm's adjusted p, family by family."""
    families: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.p is not None:
            families.setdefault(row.measure.family, {})[row.name] = row.p
    p_holm: dict[str, float] = {}
    for members in families.values():
        p_holm.update(zip(members, statistics.holm([*members.values()]), strict=True))
    return tuple(replace(row, p_holm=p_holm.get(row.name)) for row in rows)
