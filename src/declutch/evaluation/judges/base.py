"""What a judge is, and where judges are found by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from declutch.errors import SettingsError

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


_JUDGES: dict[str, Callable[[], Judge]] = {}


def register_judge(name: str) -> Callable[[Callable[[], Judge]], Callable[[], Judge]]:
    """Make a judge known under a name."""

    def register(make: Callable[[], Judge]) -> Callable[[], Judge]:
        _JUDGES[name] = make
        return make

    return register


def judge_names() -> tuple[str, ...]:
    """Names that :func:`get_judge` knows."""
    return tuple(sorted(_JUDGES))


def get_judge(name: str) -> Judge:
    """Make the judge of that name.

    Raises:
        SettingsError: there is none.
    """
    if name not in _JUDGES:
        raise SettingsError(
            f"There is no judge «{name}». The judges are: {', '.join(judge_names())}."
        )
    return _JUDGES[name]()
