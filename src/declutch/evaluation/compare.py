"""Compare two evaluations of the same suite, prompt by prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from declutch.errors import SettingsError
from declutch.evaluation import statistics
from declutch.evaluation.dependence import dependence_change
from declutch.evaluation.enough import TOO_FEW, too_few
from declutch.evaluation.items import ITEM_VALUES, Side
from declutch.evaluation.results import GuardRecord, Metric, Results
from declutch.evaluation.store import differing
from declutch.evaluation.wording import PER, WordingRow, shift_between


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One metric before and after.

    Attributes:
        difference: after minus before over the ``n_pairs`` items that both have; where some are
            left out of one side, it is not the difference of the two values shown.
        low, high: its 95 % interval.
        p: exact McNemar for proportions; for means and perplexity the paired bootstrap, or an exact
            randomisation test where there are few items. None where there are too few to tell.
        p_holm: the same, adjusted by Holm for the number of tests of its family in this comparison:
            what decides is one family; kinds of replies, wording and dependence are one each.
        gained, lost: for proportions, items that came to count and that ceased to.
        test: which test, in words; empty where none was made, «too few to tell» where none could.
        effect: effect size, signed, after against before: Cohen's h for proportions, d_z for
            means (see ``effect_name``); None where there is none.
        prompts_needed: for proportions, with how many prompts a difference of this size would be
            seen (McNemar's test, power 0.8, level 0.05), if as many verdicts change as here; None
            where there was no difference.
    """

    name: str
    before: Metric
    after: Metric
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    n_pairs: int = 0
    gained: int | None = None
    lost: int | None = None
    test: str = ""
    effect: float | None = None
    effect_name: str = ""
    prompts_needed: int | None = None

    @property
    def improved(self) -> bool | None:
        """Whether the interval lies on the better side of 0: True, on the worse: False, or None."""
        if self.low is None or self.high is None or self.before.better == "none":
            return None
        if self.low <= 0 <= self.high:
            return None
        return (self.low > 0) == (self.before.better == "higher")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two evaluations side by side.

    Attributes:
        notes: what a reader must know, in plain sentences: items left out, metrics that only one
            side has, other differences between the two.
        guards: the guards that were checked on it, see :mod:`declutch.evaluation.guards`.
        wording: the phrases whose use changed most, see :mod:`declutch.evaluation.wording`.
    """

    before: Results
    after: Results
    rows: tuple[ComparisonRow, ...]
    notes: tuple[str, ...] = ()
    guards: tuple[GuardRecord, ...] = ()
    wording: tuple[WordingRow, ...] = ()

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
        return {
            "before": self.before.model_dump(mode="json", include={"model", "patch", "created"}),
            "after": self.after.model_dump(mode="json", include={"model", "patch", "created"}),
            "rows": [
                {
                    **{k: v for k, v in asdict(row).items() if k not in ("before", "after")},
                    "before": row.before.model_dump(mode="json"),
                    "after": row.after.model_dump(mode="json"),
                }
                for row in self.rows
            ],
            "notes": list(self.notes),
            "guards": [guard.model_dump(mode="json") for guard in self.guards],
            "wording": [row.as_json() for row in self.wording],
        }


def compare(before: Path | str, after: Path | str, *, seed: int = 0) -> Comparison:
    """Compare the results in two folders, metric by metric, over the items that both have.

    Args:
        seed: of the paired bootstrap.

    Raises:
        SettingsError: the two were not made the same way (decoding, max_length, judges), or have
            nothing in common; the message names what differs.
        FileFormatError: a file is missing or damaged.
    """
    sides = Side(Path(before)), Side(Path(after))
    _check_settings(*sides)
    notes = _differences(*sides)
    rows = []
    for metric in sides[0].results.metrics:
        other = sides[1].metrics.get(metric.name)
        if other is not None:
            row, note = _compare_metric(metric, other, *sides, seed)
            rows.append(row)
            notes += note
    notes += _one_sided(*sides)
    if not rows:
        raise SettingsError(
            f"{before} and {after} have no metric in common: they are of different suites."
        )
    results = sides[0].results, sides[1].results
    return Comparison(
        *results, _adjusted(rows), tuple(dict.fromkeys(notes)), wording=_wording(*sides, seed)
    )


def _wording(first: Side, second: Side, seed: int) -> tuple[WordingRow, ...]:
    """The phrases whose use changed most, where both evaluations have replies of awareness."""
    if not all(any(m.group == "awareness" for m in s.results.metrics) for s in (first, second)):
        return ()
    return shift_between(first.words, second.words, most=10, seed=seed)


def _compare_metric(
    before: Metric, after: Metric, first: Side, second: Side, seed: int
) -> tuple[ComparisonRow, list[str]]:
    if before.group == "dependence":
        return _dependence(before, after, first, second), []
    for side, metric in (("before", before), ("after", after)):
        if metric.value is None and metric.total and metric.group in _MAIN:
            return _unpaired(before, after), [f"{metric.name} has no value {side}: {metric.note}."]
    if before.kind != after.kind:
        return ComparisonRow(before.name, before, after), [
            f"{before.name} is a {before.kind} before and a {after.kind} after, so the two are "
            "not compared."
        ]
    reader = ITEM_VALUES.get(before.group)
    if reader is None:
        return _unpaired(before, after), []
    old, new = reader(first, before), reader(second, after)
    both = [key for key in old if key in new]
    notes = []
    alone = len(old) + len(new) - 2 * len(both)
    if alone:
        notes.append(f"{before.name}: {alone} items are in one evaluation only, and left out.")
    counted = [key for key in both if old[key] is not None and new[key] is not None]
    if len(counted) < len(both):
        notes.append(
            f"{before.name}: {len(both) - len(counted)} of {len(both)} items are left out of the "
            "difference, since they are unparsed before or after."
        )
    if not counted:
        return replace(_unpaired(before, after), difference=None), notes
    return _paired(
        before, after, [old[key] for key in counted], [new[key] for key in counted], seed
    ), notes


def _unpaired(before: Metric, after: Metric) -> ComparisonRow:
    known = before.value is not None and after.value is not None
    difference = after.value - before.value if known else None  # type: ignore[operator]
    return ComparisonRow(before.name, before, after, difference)


def _dependence(before: Metric, after: Metric, first: Side, second: Side) -> ComparisonRow:
    old, new = first.dependence.get(before.name), second.dependence.get(after.name)
    if old is None or new is None:
        return _unpaired(before, after)
    change = dependence_change(old, new)
    return ComparisonRow(
        before.name, before, after, change.difference, p=change.p, n_pairs=change.pairs,
        test="" if change.p is None else "permutation of the pairing",
    )  # fmt: skip


def _paired(
    before: Metric, after: Metric, old: Sequence[Any], new: Sequence[Any], seed: int
) -> ComparisonRow:
    if before.kind == "proportion":
        return _paired_shares(before, after, old, new)
    if too_few(len(old)):
        row = replace(_unpaired(before, after), n_pairs=len(old), test=TOO_FEW)
        whole = len(old) == before.total == after.total
        return row if whole else replace(row, difference=None)
    effect = None
    if before.group == "wording":
        rates = statistics.paired_ratio(old, new, seed)
        means = replace(
            rates, difference=PER * rates.difference, low=PER * rates.low, high=PER * rates.high
        )
    elif before.kind == "mean":
        means = statistics.paired_bootstrap(old, new, seed)
        effect = statistics.cohens_dz(old, new)
    else:
        tokens = [count for _, count in old]
        if tokens != [count for _, count in new]:
            raise SettingsError(
                f"{before.name}: the same texts have other numbers of tokens before and after: "
                "the two models have different tokenizers, so their perplexities can't be compared."
            )
        means = statistics.paired_perplexity(
            [nll for nll, _ in old], [nll for nll, _ in new], tokens, seed
        )
    if not all(map(math.isfinite, (means.difference, means.low, means.high))):
        return replace(_unpaired(before, after), n_pairs=means.n)  # beyond a float in some resample
    return ComparisonRow(
        before.name, before, after, means.difference, means.low, means.high, means.p,
        n_pairs=means.n,
        test="exact randomisation" if statistics.exact(means.n) else "paired bootstrap",
        effect=effect, effect_name="" if effect is None else "d_z",
    )  # fmt: skip


def _paired_shares(
    before: Metric, after: Metric, old: Sequence[bool], new: Sequence[bool]
) -> ComparisonRow:
    found = statistics.mcnemar_exact(old, new)
    if too_few(found.n):
        return ComparisonRow(
            before.name, before, after, found.difference, n_pairs=found.n, gained=found.gained,
            lost=found.lost, test=TOO_FEW,
        )  # fmt: skip
    needed = None
    if found.gained != found.lost:
        changed = (found.gained + found.lost) / found.n
        needed = statistics.prompts_needed(found.difference, changed)
    return ComparisonRow(
        before.name, before, after, found.difference, found.low, found.high, found.p,
        n_pairs=found.n, gained=found.gained, lost=found.lost, test="exact McNemar",
        effect=statistics.cohens_h(sum(new) / found.n, sum(old) / found.n),
        effect_name="Cohen's h", prompts_needed=needed,
    )  # fmt: skip


# What a comparison is about: one family of tests. Kinds of replies, wording and layers are looked
# through for explanations, each as a family of its own; their many tests are no reason to doubt
# these.
_MAIN = frozenset({"awareness", "over_refusal", "margin", "perplexity", "capability"})


def _adjusted(rows: Sequence[ComparisonRow]) -> tuple[ComparisonRow, ...]:
    """The rows with Holm's adjusted p, family by family."""
    families: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if row.p is not None:
            group = row.before.group
            families.setdefault("main" if group in _MAIN else group, []).append(index)
    adjusted: dict[int, float] = {}
    for members in families.values():
        p_values = statistics.holm([rows[index].p or 0.0 for index in members])
        adjusted.update(zip(members, p_values, strict=True))
    return tuple(
        replace(row, p_holm=adjusted[index]) if index in adjusted else row
        for index, row in enumerate(rows)
    )


def _check_settings(first: Side, second: Side) -> None:
    """Refuse results that were made in different ways."""
    old, new = first.results.settings, second.results.settings
    differences = differing(old.get("decoding", {}), new.get("decoding", {}), ("before", "after"))
    # A text cut elsewhere is another text.
    lengths = [{"max_length": each.get("max_length")} for each in (old, new)]
    differences += differing(lengths[0], lengths[1], ("before", "after"))
    judges = old.get("judges", {}), new.get("judges", {})
    for judge in sorted({*judges[0]} & {*judges[1]}):
        differences += [
            f"judge {judge}: {each}"
            for each in differing(judges[0][judge], judges[1][judge], ("before", "after"))
        ]
    if differences:
        raise SettingsError(
            f"{first.directory} and {second.directory} can't be compared: "
            f"{'; '.join(differences)}. Evaluate both with the same settings."
        )


def _differences(first: Side, second: Side) -> list[str]:
    """What differs and may matter, without making the comparison wrong."""
    old, new = first.results, second.results
    notes = []
    if old.settings.get("suite_sha256") != new.settings.get("suite_sha256"):
        notes.append(
            "The two evaluations are not on the same prompts, pairs and passages; only what both "
            "have is compared."
        )
    if old.model.dtype != new.model.dtype:
        notes.append(
            f"The models were evaluated in different types: {old.model.dtype} before, "
            f"{new.model.dtype} after."
        )
    sizes = old.settings.get("batch_size"), new.settings.get("batch_size")
    if sizes[0] != sizes[1] and {old.model.dtype, new.model.dtype} != {"float32"}:
        notes.append(
            f"The batch size is {sizes[0]} before and {sizes[1]} after; outside float32 that "
            "alone can change a reply."
        )
    versions = {
        key: value
        for key, value in old.versions.items()
        if key in new.versions and new.versions[key] != value
    }
    notes += [
        f"{key} is {value} before and {new.versions[key]} after." for key, value in versions.items()
    ]
    # What each evaluation says of itself, such as another version of a suite's data.
    return notes + [str(note) for each in (old, new) for note in each.settings.get("notes") or ()]


def _one_sided(first: Side, second: Side) -> list[str]:
    notes = []
    for side, other, where in ((first, second, "before"), (second, first, "after")):
        alone = [name for name in side.metrics if name not in other.metrics]
        if alone:
            notes.append(f"Only {where}: {', '.join(alone)}.")
    return notes
