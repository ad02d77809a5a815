"""``tune.json``: all that a search found, and what was proven of it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from declutch.comparing.verdict import Verdict
from declutch.records import Record
from declutch.words import joined

FORMAT_VERSION = 1
TUNE_FILE = "tune.json"
WINNER: Final = "winner"


@dataclass(frozen=True, slots=True)
class Change:
    """A mean change against the original, with its standard error over items."""

    mean: float
    se: float


class TriedEdit(Record):
    """A candidate and its cheap true measures.

    Attributes:
        gain: the smallest gain of a coupled dimension's margin, in standard deviations.
        changes: by measure, its mean change and that one's standard error.
    """

    name: str
    options: dict[str, Any]
    weights: int
    gain: float
    feasible: bool
    changes: dict[str, Change]


class Generated(Record):
    """A survivor, by its replies to the tuning prompts.

    Attributes:
        gains: by dimension and judge, the change of awareness.
        gain: the smallest over dimensions of the mean over judges.
        broken: the guards that did not hold.
    """

    edit: TriedEdit
    gains: dict[str, dict[str, float]]
    gain: float
    broken: tuple[str, ...] = ()


class Proven(Record):
    """An edit on the proof prompts.

    Attributes:
        metrics: by name: before, after and what the change reads as.
    """

    name: str
    role: str
    rule: str
    weights: int
    verdict: Verdict
    metrics: dict[str, dict[str, Any]]


class TuneRecord(Record):
    """The whole.

    Attributes:
        split: by set, how many prompts, pairs or passages were for tuning and for proof.
        openings: the model's own refusal openings, in words.
        predictors: by cheap measure, the rank correlation with the replies' outcome over the
            survivors, and the weight with which it chose the second half of them.
        front: those that no other beats in gain and loss.
        winner: the best of those that replied, even where it did not help on the tuning prompts;
            None where none could reply.
        looks: how many winners the proof prompts were shown, one after another.
    """

    format_version: int = FORMAT_VERSION
    model: str
    couple: tuple[str, ...]
    exclude: tuple[str, ...]
    split: dict[str, tuple[int, int]]
    tokens: int
    openings: tuple[str, ...]
    tried: int
    pruned: int
    within_limits: int
    seconds_each: float
    predictors: dict[str, dict[str, float | None]]
    front: tuple[TriedEdit, ...]
    generated: tuple[Generated, ...]
    winner: Generated | None
    proven: tuple[Proven, ...] = ()
    looks: int = 0

    @property
    def optimism(self) -> dict[str, float]:
        """By dimension, how much larger the winner's gain was on the prompts it was chosen by."""
        if self.winner is None or not self.proven:
            return {}
        proof: dict[str, list[float]] = {}
        for one in self.proven[0].verdict.by_judge:
            proof.setdefault(one.dimension, []).append(one.difference or 0.0)
        tuning = self.winner.gains
        return {name: fmean(tuning[name].values()) - fmean(proof[name]) for name in proof}

    @property
    def promising(self) -> bool:
        """Whether the winner helped every dimension on the tuning prompts, and kept the guards."""
        return self.winner is not None and self.winner.gain > 0 and not self.winner.broken

    @property
    def helps(self) -> bool:
        """Whether the proof shows that the winner helps."""
        return bool(self.proven) and self.proven[0].verdict.word.startswith("helps")

    @property
    def sentence(self) -> str:
        """The verdict in plain words."""
        if not self.tried:
            return "No candidate could be tried."
        if self.winner is None:
            return (
                f"Of {self.tried} candidates none was within the limits, so that nothing was left "
                "to prove."
            )
        said = self.proven[0].verdict.sentence
        if self.looks > 1:
            said += (
                f" But it is winner number {self.looks} to see the proof prompts, of a search that "
                "was gone on with: the more of them do, the less a test says."
            )
        if self.promising:
            return said
        why = joined(self.winner.broken) or "awareness of some dimension did not rise"
        return (
            f"On the tuning prompts none of {len(self.generated)} edits helped every dimension "
            f"within the limits (the best of them: {why}). On the proof prompts: {said}"
        )
