"""Release checks on results on disk: read the baseline, compare, check, write the outcome down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from declutch.comparing.checks import Guard, check_guards, guarded_metrics, parse_guards
from declutch.comparing.comparison import Comparison
from declutch.comparing.results import Metric, Results
from declutch.errors import SettingsError
from declutch.evaluating.compare import compare
from declutch.evaluating.plan import Plan, asked_measures
from declutch.measures.base import Subject
from declutch.settings import Mode


def prepare_guards(texts: Sequence[str], baseline: Path | str | None = None) -> tuple[Guard, ...]:
    """Parse guards and see, before any long work, that they can be checked.

    Raises:
        SettingsError: one is malformed, needs a baseline that is not given, or names what the
            baseline does not have.
        FileFormatError: the baseline is missing or damaged.
    """
    guards = parse_guards(texts)
    known = Results.load(Path(baseline)) if baseline is not None else None
    for guard in guards:
        if not guard.needs_baseline:
            continue
        if known is None:
            raise SettingsError(
                f"--guard «{guard.text}» needs results to compare with: give --baseline RESULTS."
            )
        guarded_metrics(guard, known.metrics, known.outcomes)
    return guards


def check_guard_names(guards: Sequence[Guard], plan: Plan) -> None:
    """See, before any long work, that each guard names something that will be measured.

    Of a measure whose metrics are only known afterwards (dependence by layer) nothing is said.

    Raises:
        SettingsError: a guard names nothing, or several sorts of metric.
    """
    subject = Subject(plan.suite, plan.settings)
    empty = plan.evidence()
    known: list[Metric] = []
    later: set[str] = set()
    measures = asked_measures(subject)
    for measure in measures:
        found = measure.expected(subject, empty)
        known += [series.metric(measure.facts.name) for series in found or ()]
        if found is None:
            later.add(measure.facts.name)
    outcomes = {one.facts.name for one in measures if one.facts.role == "outcome"}
    for guard in guards:
        if guard.name.partition("/")[0] not in later:
            guarded_metrics(guard, known, outcomes)


def guard_results(
    results: Results,
    directory: Path | str,
    guards: Sequence[Guard],
    baseline: Path | str | None = None,
    mode: Mode = "lenient",
    seed: int = 0,
    measures: Sequence[str] = (),
) -> tuple[Results, Comparison | None]:
    """Check guards on an evaluation's folder and write them into its ``results.json``.

    Args:
        results: what the folder holds.
        baseline: the folder to compare with.
        seed: of the paired bootstrap.
        measures: those of one's own, as ``FILE.py:NAME``.

    Returns:
        The results with their guards, and the comparison where there is a baseline.

    Raises:
        SettingsError: a guard can't be checked, or the two evaluations can't be compared.
    """
    comparison = None
    if baseline is not None:
        comparison = compare(baseline, directory, seed=seed, measures=measures)
    checked = check_guards(guards, results, comparison, mode)
    results = results.model_copy(update={"guards": checked})
    if guards:
        results.save(Path(directory))
    return results, comparison and replace(comparison, after=results, checks=checked)


def guard_comparison(
    comparison: Comparison, guards: Sequence[Guard], mode: Mode = "lenient"
) -> Comparison:
    """The comparison with its guards checked; nothing is written.

    Raises:
        SettingsError: a guard can't be checked.
    """
    checked = check_guards(guards, comparison.after, comparison, mode)
    return replace(comparison, checks=checked)
