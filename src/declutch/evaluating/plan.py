"""What is asked of an evaluation, looked up and checked before any long work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from declutch.errors import SettingsError
from declutch.judges.asking import find_judges
from declutch.judges.base import Judge, about
from declutch.measures.base import (
    Evidence,
    Measure,
    Subject,
    all_measures,
    find_measure,
    set_facts,
)
from declutch.measures.capability.tasks import is_capability_suite
from declutch.replies.decoding import Decoding, decoding_of
from declutch.replies.verdicts import About
from declutch.settings import EvaluateSettings
from declutch.suites.base import Suite
from declutch.suites.loading import load_suites, suite_of_data

SuiteLike = str | Suite | Iterable[str | Suite] | Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """Names have become a suite and judges, and the suites of capability have become tasks.

    Attributes:
        asked: the prompts of the suite, an item for each reply.
    """

    suite: Suite
    judges: Sequence[Judge]
    settings: EvaluateSettings
    asked: Suite

    def named(self, sort: About) -> list[str]:
        """The names of the judges of one sort, in order."""
        return [judge.name for judge in self.judges if about(judge) == sort]

    def evidence(self, **found: Any) -> Evidence:
        """Sets, judges and lengths, with what was found."""
        return Evidence(
            sets=set_facts(self.suite),
            judges=self.named("awareness"),
            manner_judges=self.named("manner"),
            lengths=sorted({*self.settings.lengths}),
            **found,
        )


def make_plan(
    settings: EvaluateSettings,
    suite: SuiteLike | None = None,
    judges: Sequence[str | Judge] | None = None,
    *,
    weights: bool = True,
    greedy: bool | None = None,
) -> Plan:
    """Load the suites, make the judges, and see that all that is asked for can be measured.

    Args:
        suite, judges: in place of those that the settings name.
        weights: whether a model's weights are at hand, or its replies alone.
        greedy: whether replies are greedy; None for what the settings say.

    Raises:
        SettingsError: an option is wrong, or asks for what no reply can show.
        DataError: prompts can't be read, or are too few.
        MissingExtra: something asked for needs a package that is not installed.
    """
    decoding = decoding_from(settings)
    if settings.num_replies > 1 and (decoding.greedy if greedy is None else greedy):
        raise SettingsError(
            f"--num-replies {settings.num_replies}: at temperature 0 all replies to a prompt are "
            "the same. Give a --temperature too, such as 0.7, or leave it out."
        )
    references = _references(settings.suite if suite is None else suite)
    # Capability tasks may be given among the suites too.
    tasks = [each for each in references if is_capability_suite(each)]
    prompts = [each for each in references if each not in tasks]
    settings = replace(settings, capability=(*map(str, tasks), *settings.capability))
    chosen = load_suites(prompts) if prompts or not tasks else Suite("none")
    chosen = chosen.limited(settings.limit)
    plan = Plan(
        chosen,
        find_judges(settings.judge if judges is None else judges),
        settings,
        chosen.asked(settings.num_replies),
    )
    subject = Subject(plan.suite, settings)
    measures = asked_measures(subject)
    if not weights:
        measures = _without_weights(settings, measures)
    for measure in measures:
        measure.check(subject)
    return plan


def _without_weights(
    settings: EvaluateSettings, measures: Sequence[Measure[Any]]
) -> list[Measure[Any]]:
    """The measures that replies alone show.

    Raises:
        SettingsError: another was asked for, by name or by an option.
    """
    named = {find_measure(name).facts.name for name in settings.measure}
    needing = [
        measure.facts.title
        for measure in measures
        if measure.needs == "weights" and (measure.facts.name in named or not measure.usual)
    ]
    if needing:
        raise SettingsError(
            f"{', '.join(needing)}: that needs the model's weights, which no server shows. Leave "
            "it out, or measure it with --engine transformers, into a folder of its own."
        )
    return [measure for measure in measures if measure.needs == "replies"]


def _references(suite: SuiteLike) -> list[str | Suite]:
    if isinstance(suite, Mapping):
        return [suite_of_data(suite)]
    given = [suite] if isinstance(suite, str | Path | Suite) else suite
    found = list(given) if isinstance(given, Iterable) else [given]
    if wrong := [each for each in found if not isinstance(each, str | Path | Suite)]:
        raise SettingsError(
            f"A suite is a name, a Suite, or prompts by dimension ({{'fairness': …}}); "
            f"{wrong[0]!r:.80} is none."
        )
    return [str(each) if isinstance(each, Path) else each for each in found]


def asked_measures(subject: Subject) -> list[Measure[Any]]:
    """What is asked for, in order, whether the weights are at hand or not."""
    return [one for one in all_measures(subject.settings.measure) if one.asked(subject)]


def decoding_from(settings: EvaluateSettings) -> Decoding:
    """How replies are made: the preset, and what is given in its place.

    Raises:
        SettingsError: two of them contradict each other.
    """
    given = {each.name: getattr(settings, each.name) for each in fields(Decoding)}
    return decoding_of(settings.preset, **given)
