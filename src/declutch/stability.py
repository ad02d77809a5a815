"""How far what a run finds depends on which examples were drawn: the same on several samples."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from declutch.data.held import are_examples, checked_examples
from declutch.data.loading import LoadedData, load_examples
from declutch.errors import SettingsError
from declutch.evaluating.compare import compare
from declutch.files import write_json
from declutch.patching import Patch
from declutch.records import Record, read_record
from declutch.settings import RunSettings, ScoreSettings

FORMAT_VERSION = 1
FILE_NAME = "stability.json"
FOLDER = "seeds"


@dataclass(frozen=True)
class Sample:
    """What came of one sample: the patch, and the folder of the evaluation with it."""

    patch: Patch
    results: Path


class Overlap(Record):
    """The weights that two samples share.

    Attributes:
        first, second: their seeds.
        jaccard: shared ones over those of either; None where both patches are empty.
    """

    first: int
    second: int
    shared: int
    jaccard: float | None


class Spread(Record):
    """One metric's change over the samples.

    Attributes:
        changes: by seed, after minus before.
        lowest, highest, sd: of these; the standard deviation is of a sample (n − 1).
        low, high: the 95 % interval of the run's own change, which takes its sample as given.
    """

    metric: str
    changes: dict[int, float]
    lowest: float
    highest: float
    sd: float
    low: float | None
    high: float | None


class Stability(Record):
    """``stability.json``.

    Attributes:
        weights: by seed how many were chosen; the first seed is the run's own.
        in_all, in_any: how many weights every sample chose, and how many at least one did.
    """

    format_version: int = FORMAT_VERSION
    weights: dict[int, int]
    in_all: int
    in_any: int
    overlaps: tuple[Overlap, ...]
    metrics: tuple[Spread, ...]

    @classmethod
    def of(cls, before: Path, samples: Mapping[int, Sample], measures: Sequence[str]) -> Stability:
        """Compare what the samples chose, and what each choice did.

        Args:
            before: the evaluation of the model as it was.
            samples: by seed, the run's own first.
            measures: those of one's own that were evaluated.
        """
        chosen = {seed: _positions(sample.patch) for seed, sample in samples.items()}
        return cls(
            weights={seed: len(positions) for seed, positions in chosen.items()},
            in_all=len(set.intersection(*chosen.values())),
            in_any=len(set.union(*chosen.values())),
            overlaps=tuple(
                Overlap(
                    first=first,
                    second=second,
                    shared=len(chosen[first] & chosen[second]),
                    jaccard=_jaccard(chosen[first], chosen[second]),
                )
                for first, second in combinations(chosen, 2)
            ),
            metrics=_spreads(before, samples, measures),
        )

    def save(self, out: Path) -> None:
        """Write ``stability.json`` into a run's folder."""
        write_json(out / FILE_NAME, self.model_dump(mode="json"))

    @classmethod
    def load(cls, out: Path) -> Stability | None:
        """Read it; None where the run was on one sample.

        Raises:
            FileFormatError: it is damaged, or of another version.
        """
        path = out / FILE_NAME
        return read_record(path, cls, FORMAT_VERSION) if path.exists() else None


def read_samples(settings: RunSettings) -> dict[int, dict[str, Any]]:
    """By seed the examples of each dimension, the run's own first.

    What is wrong with them shows here, before a model is loaded.

    Raises:
        SettingsError: several are asked for, and two are the same.
        DataError: an example can't be used, or there are too few.
    """
    first, number = settings.score.seed, settings.stability.calibration_seeds
    samples = {
        seed: {
            name: _read(name, value, replace(settings.score, seed=seed))
            for name, value in {**settings.couple, **settings.exclude}.items()
        }
        for seed in range(first, first + number)
    }
    drawn = [{name: _examples(one) for name, one in each.items()} for each in samples.values()]
    if any(one == other for one, other in combinations(drawn, 2)):
        raise SettingsError(
            f"--calibration-seeds {number} needs data from which several samples can be drawn, and "
            "here two of them are the same: each dimension's sample is all that it has. Give more "
            "data, or a smaller --num-samples."
        )
    return samples


def _read(name: str, value: Any, settings: ScoreSettings) -> Any:
    if are_examples(value):
        return checked_examples(value, f"The data of «{name}»")
    return load_examples(
        value, num_samples=settings.num_samples, seed=settings.seed,
        allow_fewer=settings.allow_fewer,
    )  # fmt: skip


def _examples(read: Any) -> frozenset[object]:
    return frozenset(read.examples if isinstance(read, LoadedData) else read)


def _positions(patch: Patch) -> set[tuple[str, int]]:
    return {(name, at) for name, indices in patch.indices.items() for at in indices.tolist()}


def _jaccard(first: set[tuple[str, int]], second: set[tuple[str, int]]) -> float | None:
    return len(first & second) / len(first | second) if first or second else None


def _spreads(
    before: Path, samples: Mapping[int, Sample], measures: Sequence[str]
) -> tuple[Spread, ...]:
    """Of the metrics that a patch is for and those that it must not harm."""
    rows = {
        seed: {row.name: row for row in compare(before, sample.results, measures=measures).rows}
        for seed, sample in samples.items()
    }
    own = next(iter(rows.values()))
    spreads = []
    for name, row in own.items():
        changes = {seed: found[name].difference for seed, found in rows.items() if name in found}
        known = {seed: each for seed, each in changes.items() if each is not None}
        if row.measure.role != "explanation" and len(known) > 1 and row.difference is not None:
            values = list(known.values())
            spreads.append(
                Spread(
                    metric=name, changes=known, lowest=min(values), highest=max(values),
                    sd=statistics.stdev(values), low=row.low, high=row.high,
                )
            )  # fmt: skip
    return tuple(spreads)
