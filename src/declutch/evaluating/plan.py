"""What is asked of an evaluation, looked up and checked before any long work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from declutch.judges.asking import find_judges
from declutch.judges.base import Judge
from declutch.measures.base import Measure, Subject, all_measures
from declutch.measures.capability.tasks import is_capability_suite
from declutch.replies.decoding import Decoding, decoding_of
from declutch.settings import EvaluateSettings
from declutch.suites.base import Suite
from declutch.suites.loading import load_suites, suite_of_data

SuiteLike = str | Suite | Iterable[str | Suite] | Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """Names have become a suite and judges, and the suites of capability have become tasks."""

    suite: Suite
    judges: Sequence[Judge]
    settings: EvaluateSettings


def make_plan(
    settings: EvaluateSettings,
    suite: SuiteLike | None = None,
    judges: Sequence[str | Judge] | None = None,
) -> Plan:
    """Load the suites, make the judges, and see that all that is asked for can be measured.

    Args:
        suite, judges: in place of those that the settings name.

    Raises:
        SettingsError: an option is wrong.
        DataError: prompts can't be read, or are too few.
        MissingExtra: something asked for needs a package that is not installed.
    """
    decoding_from(settings)
    references = _references(settings.suite if suite is None else suite)
    # Capability tasks may be given among the suites too.
    tasks = [each for each in references if is_capability_suite(each)]
    prompts = [each for each in references if each not in tasks]
    settings = replace(settings, capability=(*map(str, tasks), *settings.capability))
    chosen = load_suites(prompts) if prompts or not tasks else Suite("none")
    plan = Plan(
        chosen.limited(settings.limit),
        find_judges(settings.judge if judges is None else judges),
        settings,
    )
    for measure in asked_measures(Subject(plan.suite, settings)):
        measure.check(Subject(plan.suite, settings))
    return plan


def _references(suite: SuiteLike) -> list[str | Suite]:
    if isinstance(suite, Mapping):
        return [suite_of_data(suite)]
    return [suite] if isinstance(suite, str | Suite) else list(suite)


def asked_measures(subject: Subject) -> list[Measure[Any]]:
    """What is asked for, in order, whether the weights are at hand or not."""
    return [one for one in all_measures(subject.settings.measure) if one.asked(subject)]


def decoding_from(settings: EvaluateSettings) -> Decoding:
    """How replies are made: the preset, and what is given in its place.

    Raises:
        SettingsError: two of them contradict each other.
    """
    return decoding_of(
        settings.preset,
        prompt_format=settings.prompt_format,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        thinking=settings.thinking,
        seed=settings.seed,
    )
