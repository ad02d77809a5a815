"""What a judge is, and where judges are found by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from declutch.errors import SettingsError
from declutch.evaluation.judges.options import Options, split_reference

VerdictName = Literal["aware", "unaware", "unparsed"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of one reply.

    Attributes:
        verdict: ``unparsed`` where the judge could not decide, or gave an answer of no known form.
        reason: why, in a few words.
        raw: the judge's own output, unchanged; empty for judges that have none.
    """

    verdict: VerdictName
    reason: str = ""
    raw: str = ""


class JudgeItem(NamedTuple):
    """What a judge is shown; the reply comes without the model's reasoning."""

    dimension: str
    prompt: str
    reply: str


class Judge(Protocol):
    """Decides whether a reply is aware of a dimension's concern.

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


Factory = Callable[[Options], Judge]

_JUDGES: dict[str, Factory] = {}


def register_judge(name: str) -> Callable[[Factory], Factory]:
    """Make a judge known under a name; the function gets what the user wrote after the name."""

    def register(make: Factory) -> Factory:
        _JUDGES[name] = make
        return make

    return register


def judge_names() -> tuple[str, ...]:
    """Names that :func:`get_judge` knows."""
    return tuple(sorted(_JUDGES))


def get_judge(reference: str) -> Judge:
    """Make a judge from its name and options, as ``qwen3guard:model=PATH`` (see :mod:`.options`).

    ``name=OTHER`` among the options gives it another name, so that one kind of judge can be asked
    twice.

    Raises:
        SettingsError: there is no such judge, or an option is wrong.
    """
    name, options = split_reference(reference)
    if name not in _JUDGES:
        raise SettingsError(
            f"There is no judge «{name}». The judges are: {', '.join(judge_names())}."
        )
    other = options.text("name")
    judge = _JUDGES[name](options)
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

    def judge(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        """As the judge itself."""
        return self.judge_itself.judge(items)
