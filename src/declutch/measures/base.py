"""What a measure is: one object in one file. All others know only this much of it.

A measure finds something of each item (a reply, a pair, a text), and says how the items make
metrics. How a metric is summed up, tested and shown follows from its kind
(:mod:`declutch.comparing.kinds`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Literal

from declutch.comparing.comparison import ComparisonRow, MeasureTable
from declutch.comparing.kinds import PROPORTION
from declutch.comparing.results import Better, MeasureFacts, Metric, SetFacts
from declutch.comparing.series import Series, compare_series
from declutch.errors import SettingsError
from declutch.items import I, Item
from declutch.registry import Registry

if TYPE_CHECKING:
    from declutch.data.encoding import Encoder
    from declutch.replies.store import ReplyRow
    from declutch.settings import EvaluateSettings
    from declutch.suites.base import Suite


@dataclass(frozen=True)
class Subject:
    """What is measured: a model, or its replies alone (then there is no model), on a suite."""

    suite: Suite
    settings: EvaluateSettings
    model: Any = None
    tokenizer: Any = None
    encoder: Encoder | None = None


@dataclass(frozen=True)
class Part:
    """A piece of a measure that is measured, kept and resumed as a whole.

    Attributes:
        name: unique within the measure: a dimension, a task; the ``set`` of its items.
        depends: all that its items depend on beside the model and the suite; JSON values.
        run: measures it: the items, and facts to be kept beside them.
    """

    name: str
    run: Callable[[], tuple[Sequence[Item], Mapping[str, Any]]]
    depends: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """What an evaluation found, as it is in memory or was read back from its folder.

    Attributes:
        sets: the prompt sets, as ``results.json`` describes them.
        judges: of awareness, their names in order.
        replies: all replies with their verdicts.
        items: by measure, what was measured of each item.
        facts: by measure and part, what was kept beside the items.
        manner_judges: those that tell how a prompt is met; the first speaks where one is needed.
        lengths: at which, in tokens, cut replies were judged too.
    """

    sets: Sequence[SetFacts] = ()
    judges: Sequence[str] = ()
    replies: Sequence[ReplyRow] = ()
    items: Mapping[str, Sequence[Item]] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    manner_judges: Sequence[str] = ()
    lengths: Sequence[int] = ()

    @cached_property
    def clusters(self) -> Mapping[str, str]:
        """By the id that a series has for an item, the cluster of those that belong to one."""
        replies = {row.pairing: row.cluster for row in self.replies if row.cluster}
        items = {i.id: i.cluster for rows in self.items.values() for i in rows if i.cluster}
        return {**items, **replies}

    def of(self, measure: Measure[I]) -> list[I]:
        """What was measured of each item by one measure."""
        return list(self.items.get(measure.facts.name, ()))  # type: ignore[arg-type]

    def sets_of(self, kind: str) -> list[SetFacts]:
        """The prompt sets of one kind."""
        return [each for each in self.sets if each.kind == kind]

    def rows(self, each: SetFacts) -> list[ReplyRow]:
        """The replies to one set's prompts."""
        return [row for row in self.replies if (row.suite, row.set) == (each.suite, each.set)]


def manner_series(
    evidence: Evidence,
    each: SetFacts,
    name: str,
    wanted: Container[str],
    note: str,
    better: Better = "none",
) -> list[Series]:
    """For each judge of manner, which prompts of a set were met in a wanted way.

    An unparsed reply was in none.
    """
    rows = evidence.rows(each)
    return [
        Series(
            f"{name}/{each.label}/{judge}", PROPORTION,
            {row.pairing: row.verdicts[judge].verdict in wanted for row in rows},
            each.dimension, judge, better=better, note=note,
        )
        for judge in evidence.manner_judges
    ]  # fmt: skip


class Measure(ABC, Generic[I]):
    """One measure.

    Attributes:
        facts: its name, title and what a reader is told; recorded in every result.
        needs: ``replies`` alone (then it works with a served model), or the ``weights``.
        order: where it stands among the others, the lowest first.
        usual: whether it is measured though nobody asked for it.
        item: the class of its items; None where it is made of replies.
    """

    facts: MeasureFacts
    needs: Literal["replies", "weights"] = "replies"
    order: int = 1000
    usual: bool = True
    item: type[I] | None = None

    def asked(self, subject: Subject) -> bool:
        """Whether it is to be measured: always, by default, if it is there."""
        return True

    def check(self, subject: Subject) -> list[str]:
        """Look, before any long work, at what is to be measured.

        Returns:
            What a reader of the results must know, such as what is left out.

        Raises:
            SettingsError, DataError: an option is wrong, or the suite lacks something.
        """
        return []

    def parts(self, subject: Subject) -> Sequence[Part]:
        """What to measure, piece by piece; nothing where it is made of replies."""
        return ()

    def expected(self, subject: Subject, empty: Evidence) -> list[Series] | None:
        """What its metrics will be called, as series without items; None where it can't be told.

        By default it is told of a measure made of replies.

        Args:
            empty: the prompt sets and judges, and no replies.
        """
        return self._told(empty) if self.item is None else None

    @abstractmethod
    def series(self, evidence: Evidence) -> list[Series]:
        """The items of each metric."""

    def metrics(self, evidence: Evidence, seed: int = 0) -> list[Metric]:
        """Its numbers, with counts and intervals."""
        clusters = evidence.clusters
        return [each.metric(self.facts.name, seed, clusters) for each in self._told(evidence)]

    def _told(self, evidence: Evidence) -> list[Series]:
        """Its series, of a measure that may be another's."""
        found: object = self.series(evidence)
        if isinstance(found, list) and all(isinstance(each, Series) for each in found):
            return found
        raise SettingsError(
            f"The measure {self.facts.name} gives {found!r:.100}, where a list of Series is needed."
        )

    def compare(
        self,
        before: tuple[Evidence, Mapping[str, Metric]],
        after: tuple[Evidence, Mapping[str, Metric]],
        seed: int = 0,
    ) -> tuple[list[ComparisonRow], list[str]]:
        """Two evaluations, metric by metric, over the items that both have; and notes."""
        new = {each.name: each for each in self._told(after[0])}
        clusters = {**after[0].clusters, **before[0].clusters}
        rows, notes = [], []
        for each in self._told(before[0]):
            if each.name in new and each.name in before[1] and each.name in after[1]:
                row, said = compare_series(
                    before[1][each.name], after[1][each.name], each, new[each.name], seed, clusters
                )
                rows.append(row)
                notes += said
        return rows, notes

    def table(self, before: Evidence, after: Evidence, seed: int = 0) -> MeasureTable | None:
        """What else is worth showing of two evaluations side by side; nothing by default."""
        return None

    def files(self, evidence: Evidence) -> Mapping[str, Sequence[Mapping[str, Any]] | None]:
        """Further files for a reader, by name, as rows of JSON lines; None for none."""
        return {}


def set_facts(suite: Suite) -> list[SetFacts]:
    """The prompt sets of a suite as results describe them."""
    labels = suite.labels()
    return [
        SetFacts(
            suite=each.suite,
            set=each.name,
            kind=each.kind,
            dimension=each.dimension,
            label=labels[each.suite, each.name],
            prompts=len(each.items),
        )
        for each in suite.prompt_sets
    ]


MEASURES: Registry[type[Measure[Any]]] = Registry("measure", "declutch.measures", "--measure")


def find_measure(name: str) -> Measure[Any]:
    """A measure by its name.

    Raises:
        SettingsError: it is unknown, or is no measure.
    """
    found = MEASURES.get(name)
    if not (isinstance(found, type) and issubclass(found, Measure)):
        raise SettingsError(f"--measure {name}: {found!r} is no class derived from Measure.")
    measure: Measure[Any] = MEASURES.call(name, found, Measure)
    if not isinstance(getattr(measure, "facts", None), MeasureFacts):
        raise SettingsError(f"--measure {name}: its facts are no MeasureFacts (docs/extend.md).")
    return measure


def all_measures(names: Sequence[str] = ()) -> list[Measure[Any]]:
    """Ours, those of installed packages, and those that are named beside them, in order.

    Raises:
        SettingsError: one is unknown, or two have one name.
    """
    found = [find_measure(name) for name in dict.fromkeys([*MEASURES.names(), *names])]
    called = [one.facts.name for one in found]
    if twice := sorted({name for name in called if called.count(name) > 1}):
        raise SettingsError(
            f"--measure: there are two measures called {', '.join(twice)}. Give your own another "
            "name in its facts."
        )
    return sorted(found, key=lambda one: one.order)
