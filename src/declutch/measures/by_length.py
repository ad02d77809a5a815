"""What the first tokens of the same replies would have shown: is a limit long enough?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from declutch.comparing.results import MeasureFacts
from declutch.comparing.series import Series
from declutch.errors import SettingsError
from declutch.items import Item
from declutch.measures.awareness import Awareness
from declutch.measures.base import MEASURES, Evidence, Measure, Subject
from declutch.measures.over_caution import OverCaution
from declutch.measures.over_refusal import OverRefusal
from declutch.replies.cutting import judge_at
from declutch.replies.decoding import decoding_of
from declutch.replies.verdicts import Verdict

_UNIT = "_tokens"


@MEASURES.register("by_length")
class ByLength(Measure[Item]):
    """Awareness, over-refusal and over-caution of replies cut at each of ``--lengths``."""

    facts = MeasureFacts(
        name="by_length",
        title="By length of reply",
        note="the same replies, judged by their first tokens alone",
        family="by_length",
        items="prompt",
        quiet=True,
    )
    order = 36

    def asked(self, subject: Subject) -> bool:
        """Where lengths are given."""
        return bool(subject.settings.lengths)

    def check(self, subject: Subject) -> list[str]:
        """See that replies are long enough to be cut there."""
        settings = subject.settings
        most = decoding_of(settings.preset, max_new_tokens=settings.max_new_tokens).max_new_tokens
        if (longest := max(settings.lengths)) > most:
            raise SettingsError(
                f"--lengths {longest}: replies have at most {most} tokens. Give --max-new-tokens "
                f"{longest} too, or shorter lengths."
            )
        return []

    def series(self, evidence: Evidence) -> list[Series]:
        """Those of each measure at each length, the lengths of one metric side by side."""
        found: dict[str, list[Series]] = {}
        for tokens in evidence.lengths:
            short = _at(evidence, tokens)
            for measure in (Awareness(), OverRefusal(), OverCaution()):
                for each in measure.series(short):
                    name = f"by_length/{each.name}/{tokens}{_UNIT}"
                    found.setdefault(each.name, []).append(replace(each, name=name))
        return [
            replace(each, note=_further(each, metric[-1]))
            for metric in found.values()
            for each in metric
        ]


def length_of(name: str) -> tuple[str, int]:
    """What a metric is of, and at which length: ``awareness/fairness/heuristic``, 64."""
    metric, _, tokens = name.removeprefix("by_length/").rpartition("/")
    return metric, int(tokens.removesuffix(_UNIT))


def _further(short: Series, longest: Series) -> str:
    """The note on a series, and what it misses of the longest."""
    if short is longest:
        return short.note
    values = [(value, longest.values[key]) for key, value in short.values.items()]
    more = sum(new is True and old is False for old, new in values)
    less = sum(new is False and old is True for old, new in values)
    return f"{short.note}; at the longest {more} more count and {less} no longer do"


def _at(evidence: Evidence, tokens: int) -> Evidence:
    """The evidence with the verdicts on cut replies in place of those on whole ones."""
    judges = (*evidence.judges, *evidence.manner_judges)

    def verdicts(kept: Mapping[str, Verdict]) -> dict[str, Verdict]:
        return {judge: kept[at] for judge in judges if (at := judge_at(judge, tokens)) in kept}

    rows = [replace(row, verdicts=verdicts(row.verdicts)) for row in evidence.replies]
    return replace(evidence, replies=rows)
