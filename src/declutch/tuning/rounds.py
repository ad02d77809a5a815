"""Rounds: an edit is applied, what is left is scored again, and the search goes on from there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from declutch.locating import locate
from declutch.patching import Patch
from declutch.progress import quiet
from declutch.scoring.shortlists import Scores
from declutch.settings import RunSettings
from declutch.stages import PATCH, SCORES
from declutch.tuning.space import Candidate

FOLDER = "rounds"


@dataclass(frozen=True)
class Round:
    """What the candidates of one round are chosen from.

    Attributes:
        number: 1 for the scores of the model as it is.
        base: what candidates are added to; None in the first.
    """

    number: int
    scores: Scores
    base: Patch | None = None

    @classmethod
    def read(cls, number: int, scores: Scores, out: Path) -> Round:
        """A round that was begun; the first has the run's own scores.

        Raises:
            FileFormatError: a file is missing or damaged.
        """
        if number == 1:
            return cls(1, scores)
        folder = folder_of(out, number)
        return cls(number, Scores.load(folder / SCORES.name), Patch.load(folder / PATCH.name))

    def patch(self, candidate: Candidate, settings: RunSettings) -> Patch:
        """A candidate's patch.

        Raises:
            SettingsError: it is none: see :func:`declutch.locating.locate`.
        """
        with quiet():
            found = locate(
                self.scores, list(settings.couple), list(settings.exclude),
                settings=candidate.settings, target_modules=candidate.target_modules,
                seed=settings.score.seed,
            )  # fmt: skip
        return self.base | found if self.base is not None else found


def folder_of(out: Path, number: int) -> Path:
    """Where a round's scores and base are kept."""
    return out / FOLDER / str(number)
