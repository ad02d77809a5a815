"""What can be wrong with what is asked of an evaluation, found before any long work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from declutch.errors import SettingsError
from declutch.evaluation.capability_tasks import (
    CapabilityTask,
    capability_tasks,
    is_capability_suite,
)
from declutch.evaluation.dependence import Pairing, paired_prompts
from declutch.evaluation.harness import check_task
from declutch.evaluation.judges import Judge, get_judge
from declutch.evaluation.suites import Suite, load_suites, suite_of_data
from declutch.evaluation.windows import read_text


class Asked(NamedTuple):
    """What an evaluation is made on, and by whom: prompts, capability tasks, judges."""

    suite: Suite
    tasks: list[str]
    judges: list[Judge]


def check_evaluation(
    suite: str | Suite | Iterable[str | Suite] | Mapping[str, Any],
    judges: Sequence[str | Judge],
    *,
    limit: int | None = None,
    capability: Sequence[str] = (),
    capability_limit: int | None = None,
    dependence: Pairing | None = None,
    batch_size: int = 1,
) -> Asked:
    """Load the suites and make the judges; see that all that is asked for can be measured.

    The arguments are those of :func:`declutch.evaluate`.

    Raises:
        SettingsError: an option is wrong.
        DataError: prompts can't be read, or are too few.
        MissingExtra: a capability task needs a package that is not installed.
    """
    if batch_size < 1:
        raise SettingsError(f"--batch-size must be at least 1, not {batch_size}.")
    references, tasks = split_suites(suite, capability)
    chosen = _prompt_suite(references, tasks).limited(limit)
    asked = _judges(judges)
    for task in capability_tasks(tasks, limit if capability_limit is None else capability_limit):
        _check_task(task)
    if dependence is not None:
        paired_prompts(chosen)
    return Asked(chosen, tasks, asked)


def _check_task(task: CapabilityTask) -> None:
    if task.spec is not None:
        check_task(task)
    elif task.text:
        read_text(task.text)


def split_suites(
    suite: str | Suite | Iterable[str | Suite] | Mapping[str, Any], capability: Sequence[str]
) -> tuple[list[str | Suite], list[str]]:
    """Suites of prompts, and capability tasks, which may be given among the suites too."""
    if isinstance(suite, Mapping):
        suite = suite_of_data(suite)
    references = [suite] if isinstance(suite, str | Suite) else list(suite)
    tasks = [each for each in references if isinstance(each, str) and is_capability_suite(each)]
    return [each for each in references if each not in tasks], [*tasks, *capability]


def _prompt_suite(references: Sequence[str | Suite], tasks: Sequence[str]) -> Suite:
    """The suite of prompts; an empty one where only capability is asked for."""
    return Suite("none") if tasks and not references else load_suites(references)


def _judges(references: Sequence[str | Judge]) -> list[Judge]:
    if isinstance(references, str):
        references = [references]
    judges = [get_judge(each) if isinstance(each, str) else each for each in references]
    names = [judge.name for judge in judges]
    if len(set(names)) < len(names):
        raise SettingsError(f"--judge names a judge twice: {', '.join(names)}.")
    return judges
