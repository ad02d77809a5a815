"""Guards on results on disk: read the baseline, compare, check, and write the outcome down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from declutch.comparing.checks import Guard, Mode, check_guards, guarded_metrics, parse_guards
from declutch.comparing.compare import Comparison, compare
from declutch.comparing.results import Group, Metric, Results, mean
from declutch.errors import SettingsError
from declutch.measures.asking import Asked
from declutch.measures.awareness import reply_metrics
from declutch.measures.capability.tasks import capability_tasks
from declutch.replies.store import ReplyStore

_KNOWN_LATER = ("wording", "agreement", "dependence")
_MARGINS = ("margin", "margin_positive")


def prepare_guards(texts: Sequence[str], baseline: Path | str | None = None) -> tuple[Guard, ...]:
    """Parse guards and see, before any long work, that they can be checked.

    Raises:
        SettingsError: one is malformed, needs a baseline that is not given, or names what the
            baseline does not have.
        FileFormatError: the baseline is missing or damaged.
    """
    guards = parse_guards(texts)
    known = Results.load(Path(baseline)).metrics if baseline is not None else ()
    for guard in guards:
        if not guard.needs_baseline:
            continue
        if baseline is None:
            raise SettingsError(
                f"--guard «{guard.text}» needs results to compare with: give --baseline RESULTS."
            )
        guarded_metrics(guard, known)
    return guards


def check_guard_names(guards: Sequence[Guard], asked: Asked) -> None:
    """See, before any long work, that each guard names something that will be measured.

    Of what is only known afterwards (wording, agreement, dependence by layer) nothing is said.

    Raises:
        SettingsError: a guard names nothing, or several sorts of metric.
    """
    known = _expected(asked)
    for guard in guards:
        if guard.name.partition("/")[0] not in _KNOWN_LATER:
            guarded_metrics(guard, known)


def _expected(asked: Asked) -> list[Metric]:
    """The metrics that an evaluation will give, without their values."""
    empty = tuple(replace(each, items=()) for each in asked.suite.prompt_sets)
    judges = [judge.name for judge in asked.judges]
    tasks = capability_tasks(asked.tasks)
    names: list[tuple[str, Group, str | None]] = [
        *((f"{name}/{each}", "margin", each) for each in asked.suite.pairs for name in _MARGINS),
        *(("perplexity/general", "perplexity", None) for _ in asked.suite.passages[:1]),
        *((f"capability/{task.name}", "capability", None) for task in tasks),
    ]
    return [
        *reply_metrics(replace(asked.suite, prompt_sets=empty), ReplyStore(None, {}), judges),
        *(mean(name, [], group=group, dimension=each) for name, group, each in names),
    ]


def guard_results(
    results: Results,
    directory: Path | str,
    guards: Sequence[Guard],
    baseline: Path | str | None = None,
    mode: Mode = "lenient",
    seed: int = 0,
) -> tuple[Results, Comparison | None]:
    """Check guards on an evaluation's folder and write them into its ``results.json``.

    Args:
        results: what the folder holds.
        baseline: the folder to compare with.
        seed: of the paired bootstrap.

    Returns:
        The results with their guards, and the comparison where there is a baseline.

    Raises:
        SettingsError: a guard can't be checked, or the two evaluations can't be compared.
    """
    comparison = compare(baseline, directory, seed=seed) if baseline is not None else None
    checked = check_guards(guards, results, comparison, mode)
    results = results.model_copy(update={"guards": checked})
    if guards:
        results.save(Path(directory))
    if comparison is not None:
        comparison = replace(comparison, after=results, guards=checked)
    return results, comparison


def guard_comparison(
    comparison: Comparison, guards: Sequence[Guard], mode: Mode = "lenient"
) -> Comparison:
    """The comparison with its guards checked; nothing is written.

    Raises:
        SettingsError: a guard can't be checked.
    """
    checked = check_guards(guards, comparison.after, comparison, mode)
    return replace(comparison, guards=checked)
