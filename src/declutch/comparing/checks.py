"""Guards: conditions that a release must meet, checked with the uncertainty taken into account.

A guard is ``NAME OP RIGHT``: ``perplexity<=1.02x``, ``fairness>=baseline``,
``over_refusal<=baseline+0.05``, ``awareness/privacy>=0.6``. See docs/guards.md.

Pure functions of results and comparisons; nothing is read or written.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from declutch.comparing.comparison import Comparison
from declutch.comparing.enough import too_few, too_few_of
from declutch.comparing.results import CheckRecord, Metric, Results
from declutch.errors import SettingsError
from declutch.settings import Mode

MODES: tuple[Mode, ...] = get_args(Mode)
Kind = Literal["number", "baseline", "times"]

_NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?"
_GUARD = re.compile(r"\s*(?P<name>[^<>=\s]+)\s*(?P<sign><=|>=|<|>)\s*(?P<right>.+?)\s*")
_PLAIN = re.compile(rf"[+-]?(?:{_NUMBER})")
_BASELINE = re.compile(rf"baseline(?:\s*(?P<sign>[+-])\s*(?P<by>{_NUMBER}))?")
_TIMES = re.compile(rf"(?P<by>{_NUMBER})\s*x")
_EXAMPLES = "«perplexity<=1.02x», «fairness>=baseline» or «over_refusal<=baseline+0.05»"

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Guard:
    """One condition, as it was parsed.

    Attributes:
        text: as the user wrote it.
        name: a metric, a group or a dimension.
        sign: ``<=``, ``>=``, ``<`` or ``>``.
        kind: ``number`` for a fixed limit, ``baseline`` for the baseline plus ``by``, ``times``
            for ``by`` times the baseline.
    """

    text: str
    name: str
    sign: str
    kind: Kind
    by: float

    @property
    def needs_baseline(self) -> bool:
        """Whether it can't be checked without other results to compare with."""
        return self.kind != "number"

    @property
    def upper(self) -> bool:
        """Whether the limit is one from above."""
        return self.sign.startswith("<")


def parse_guard(text: str) -> Guard:
    """Parse one guard.

    Raises:
        SettingsError: it is not of the form; the message says which part is wrong.
    """
    match = _GUARD.fullmatch(text)
    if not match:
        raise SettingsError(
            f"--guard «{text}»: write a name, one of <= >= < >, and a limit, as in {_EXAMPLES} "
            "(in quotes, since a shell reads < and > itself)."
        )
    name, sign, right = match["name"], match["sign"], match["right"]
    if _PLAIN.fullmatch(right):
        return Guard(text, name, sign, "number", float(right))
    if found := _BASELINE.fullmatch(right):
        by = float(found["by"] or 0)
        return Guard(text, name, sign, "baseline", -by if found["sign"] == "-" else by)
    if found := _TIMES.fullmatch(right):
        by = float(found["by"])
        if by <= 0:
            raise SettingsError(f"--guard «{text}»: a multiple of the baseline must be above 0.")
        return Guard(text, name, sign, "times", by)
    hint = " Shares are written as 0.05, not as percent." if "%" in right else ""
    raise SettingsError(
        f"--guard «{text}»: «{right}» is not a limit. Write a number, baseline, baseline+0.05, "
        f"baseline-0.05 or 1.02x (times the baseline).{hint}"
    )


def parse_guards(texts: Sequence[str]) -> tuple[Guard, ...]:
    """Parse guards; see :func:`parse_guard`."""
    return tuple(parse_guard(text) for text in texts)


def guarded_metrics(
    guard: Guard, metrics: Sequence[Metric], outcomes: Collection[str]
) -> list[Metric]:
    """The metrics that a guard is about.

    A whole name; else all names that begin with it (``awareness``, ``awareness/fairness``); else
    the outcomes (awareness) of a dimension of that name (``fairness``); else all metrics of which
    it is a part of the name or the group, if they are of one sort.

    Raises:
        SettingsError: there is none, or several sorts of metric go by that name; it lists them.
    """
    name = guard.name
    for meant in (
        [metric for metric in metrics if metric.name == name],
        [metric for metric in metrics if metric.name.startswith((f"{name}/", f"{name}@"))],
        [metric for metric in metrics if metric.dimension == name and metric.group in outcomes],
    ):
        if meant:
            return meant
    parts = [m for m in metrics if name in (m.group, m.dimension, *m.name.split("/"))]
    if not parts:
        known = dict.fromkeys(metric.name.partition("/")[0] for metric in metrics)
        raise SettingsError(
            f"--guard «{guard.text}»: no metric goes by «{name}». There are: "
            f"{', '.join(known) or 'none'}; or a whole name, such as "
            f"{metrics[0].name if metrics else 'awareness/fairness/heuristic'}."
        )
    sorts = {metric.name.partition("/")[0] for metric in parts}
    if len(sorts) > 1:
        raise SettingsError(
            f"--guard «{guard.text}»: «{name}» could be any of "
            f"{', '.join(metric.name for metric in parts)}. Name one, or as much of it from its "
            "beginning as tells it apart."
        )
    return parts


def check_guards(
    guards: Sequence[Guard],
    results: Results,
    comparison: Comparison | None = None,
    mode: Mode = "lenient",
) -> tuple[CheckRecord, ...]:
    """Check guards on results, one record for each guard and metric.

    ``lenient``: a guard fails only where the whole 95 % interval lies on the wrong side of the
    limit, so where the data speak against it. ``strict``: it holds only where the whole interval
    lies on the right side, so where the data show it. A metric without an interval is judged by
    its value in the lenient mode and is not shown in the strict one. Nothing to compare, and too
    few items to tell, fail in both.

    Args:
        results: what is guarded.
        comparison: of the baseline with ``results``, for guards that name the baseline.

    Raises:
        SettingsError: a name fits nothing or too much, a limit is not possible, or a guard needs
            a baseline and there is no comparison.
    """
    if mode not in MODES:
        raise SettingsError(f"--guard-mode «{mode}» is unknown; give {' or '.join(MODES)}.")
    records = []
    for guard in guards:
        if guard.needs_baseline and comparison is None:
            raise SettingsError(
                f"--guard «{guard.text}» needs results to compare with: give --baseline RESULTS."
            )
        for metric in guarded_metrics(guard, results.metrics, results.outcomes):
            _check_possible(guard, metric)
            records.append(_checked(guard, metric, comparison, mode))
    return tuple(records)


def _check_possible(guard: Guard, metric: Metric) -> None:
    """Refuse limits that mean something else than they say, as 60 for a share."""
    if metric.kind != "proportion" or guard.kind == "times":
        return
    lowest = 0.0 if guard.kind == "number" else -1.0
    if not lowest <= guard.by <= 1:
        raise SettingsError(
            f"--guard «{guard.text}»: {metric.name} is a share from 0 to 1, so {guard.by:g} is no "
            "limit for it. Write 5 percent as 0.05."
        )


def _checked(
    guard: Guard, metric: Metric, comparison: Comparison | None, mode: Mode
) -> CheckRecord:
    """On the value, or on the paired difference from the baseline."""

    def unmeasured(why: str) -> CheckRecord:
        reason = f"can't be checked: {why}"
        return CheckRecord(guard=guard.text, metric=metric.name, mode=mode, reason=reason)

    value, limit, low, high = metric.value, guard.by, metric.low, metric.high
    items, what = metric.independent, ""
    if guard.needs_baseline and comparison is not None:
        row = next((row for row in comparison.rows if row.name == metric.name), None)
        if row is None or row.before.value is None:
            return unmeasured("the baseline has no such value")
        value, low, high = row.difference, row.low, row.high
        items, what = row.independent, "difference from the baseline "
        if guard.kind == "times":  # as a difference; the baseline's value is taken as known
            limit = (guard.by - 1) * row.before.value
            if row.before.value < 0 and not too_few(items):
                return unmeasured(
                    "the baseline's value is negative, so a multiple of it is no limit"
                )
    if too_few(items):
        return unmeasured(too_few_of(items))
    if value is None or math.isnan(value):
        if metric.value is None and metric.total and metric.note:
            return unmeasured(f"it has no value ({metric.note})")
        return unmeasured(
            "no item was counted on both sides" if what else "there is nothing to count"
        )
    holds = _COMPARE[guard.sign]
    if low is None or high is None:
        shown, speaks_against = False, not holds(value, limit)
        interval = "no interval"
    else:
        worst, best = (high, low) if guard.upper else (low, high)
        shown, speaks_against = holds(worst, limit), not holds(best, limit)
        interval = f"95 % interval {_number(low, metric)} to {_number(high, metric)}"
    held = shown if mode == "strict" else not speaks_against
    if shown:
        verdict = "shown: the whole interval is on the right side"
    elif speaks_against:
        verdict = "the data speak against it"
    else:
        verdict = "not shown, and not refuted either"
    shares = not what and metric.kind == "proportion"
    count = f"{metric.count}/{metric.total}, " if shares else ""
    reason = (
        f"{what}{_number(value, metric)} ({count}{interval}), limit {guard.sign} "
        f"{_number(limit, metric)}: {verdict}"
    )
    return CheckRecord(
        guard=guard.text, metric=metric.name, mode=mode, held=held, shown=shown, value=value,
        limit=limit, low=low, high=high, reason=reason,
    )  # fmt: skip


def _number(value: float, metric: Metric) -> str:
    places = 3 if metric.kind == "proportion" or abs(value) < 10 else 2
    return f"{value:.{places}f}"
