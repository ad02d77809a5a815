"""What a judge is, and where judges are found by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from declutch.errors import SettingsError
from declutch.judges.options import Options, split_reference
from declutch.registry import Registry
from declutch.replies.verdicts import About, Verdict


class JudgeItem(NamedTuple):
    """What a judge is shown; the reply comes without the model's reasoning."""

    dimension: str
    prompt: str
    reply: str


@runtime_checkable
class Judge(Protocol):
    """Decides whether a reply is aware of a dimension's concern, or how it meets its prompt.

    A judge of the second sort has an attribute ``about`` that is ``manner``; its verdicts are those
    of :data:`declutch.replies.verdicts.Manner`, and it is asked about harmless prompts as well.

    Attributes:
        name: how metrics call it.
        settings: all that its verdicts depend on (a version, a model id): kept verdicts are used
            again only where these are the same.
    """

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def judge(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        """One verdict an item, in the same order."""
        ...


def about(judge: Judge) -> About:
    """What a judge decides: awareness, where it does not say."""
    found: About = getattr(judge, "about", "awareness")
    return found


Factory = Callable[[Options], Judge]

JUDGES: Registry[Factory] = Registry("judge", "declutch.judges", "--judge")
register_judge = JUDGES.register


def get_judge(reference: str) -> Judge:
    """Make a judge from its name and options, as ``qwen3guard:model=PATH`` (see :mod:`.options`).

    ``name=OTHER`` among the options gives it another name, so that one kind of judge can be asked
    twice.

    Raises:
        SettingsError: there is no such judge, or an option is wrong.
    """
    name, options = split_reference(reference)
    make = JUDGES.get(name)
    other = options.text("name")
    judge: Judge = JUDGES.call(name, make, Judge, options)
    options.done()
    if other is None:
        return judge
    if "/" in other or "~" in other:
        raise SettingsError(f"A judge's name must not hold / or ~: name={other}.")
    return Renamed(other, judge)


@dataclass(frozen=True)
class Renamed:
    """A judge under another name."""

    name: str
    judge_itself: Judge

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of the judge itself, and which one it is."""
        return {**self.judge_itself.settings, "judge": self.judge_itself.name}

    @property
    def about(self) -> About:
        """As the judge itself."""
        return about(self.judge_itself)

    def judge(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        """As the judge itself."""
        return self.judge_itself.judge(items)
