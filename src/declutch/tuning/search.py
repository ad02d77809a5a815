"""The search: candidates from the scores, each tried in memory by cheap true measures.

Optuna draws them (TPE, two objectives: the smallest gain of a coupled dimension's margin, and the
loss on general text) and keeps them in SQLite, so that a search goes on where it stopped. The
sampler is seeded by how many trials are finished, not by their numbers: one that was killed leaves
no trace in what comes after it.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declutch.errors import DeclutchError, SettingsError
from declutch.extras import require
from declutch.files import sha256_json
from declutch.patching import Patch
from declutch.progress import announce, progress_bar
from declutch.tuning.record import Change
from declutch.tuning.space import Candidate, Space

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

STORE = "search.db"
_NAME = "declutch"


@dataclass(frozen=True)
class Tried:
    """A candidate that was tried.

    Attributes:
        number: of its trial.
        edit: hash of the positions and the scale; two rules may choose the same.
        changes: of each cheap measure against the original.
        gain: the smallest gain of a coupled dimension, in standard deviations of its margins.
        feasible: within the limits on what it may cost.
        seconds: that trying it took.
    """

    number: int
    candidate: Candidate
    weights: int
    edit: str
    changes: dict[str, Change]
    gain: float
    feasible: bool
    seconds: float


@dataclass(frozen=True)
class Limits:
    """When the search ends, and what an edit may cost on the tuning set.

    Attributes:
        perplexity: as a factor of the original's.
        opening: by how much the probability of the model's own refusal openings on harmless
            prompts may rise.
    """

    minutes: float | None
    trials: int | None
    perplexity: float
    opening: float = 0.02


class Search:
    """Tries candidates until the time or the trials are used up.

    Args:
        store: the SQLite file; made if it is not there.
        locate: a candidate's patch.
        measure: its changes, with the patch applied.
        spreads: by coupled dimension, the standard deviation of the original's margins.

    Raises:
        MissingExtra: Optuna is not installed.
    """

    def __init__(
        self,
        store: Path,
        space: Space,
        locate: Callable[[Candidate], Patch],
        measure: Callable[[Patch], dict[str, Change]],
        spreads: Mapping[str, float],
        limits: Limits,
        seed: int,
    ) -> None:
        self._optuna = require("optuna", extra="tune", why="a search")
        self._optuna.logging.set_verbosity(self._optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=self._optuna.exceptions.ExperimentalWarning)
        self.space, self.limits, self.seed, self.spreads = space, limits, seed, spreads
        self._locate, self._measure = locate, measure
        self.study: Study = self._optuna.create_study(
            directions=["maximize", "minimize"], storage=f"sqlite:///{store}", study_name=_NAME,
            load_if_exists=True,
        )  # fmt: skip

    @property
    def pruned(self) -> int:
        """How many candidates were no edits, or ruined the model."""
        return len(self._trials("PRUNED"))

    def run(self) -> None:
        """Try candidates, after those that are there; no other process may do so meanwhile."""
        for killed in self._trials("RUNNING"):
            self.study.tell(killed.number, state=self._optuna.trial.TrialState.FAIL)
        began = time.monotonic()
        announce("Searching", self.limits.trials)
        with progress_bar() as bar:
            task = bar.add_task("Searching", total=self.limits.trials)
            while not self._over(began):
                self._one()
                bar.update(task, completed=self._done(), description=self._said())

    def tried(self) -> list[Tried]:
        """All candidates that were measured, in the order of their trials; each edit once."""
        found: dict[str, Tried] = {}
        for trial in self._trials("COMPLETE"):
            one = _tried(trial, self.space)
            found.setdefault(one.edit, one)
        return list(found.values())

    def _trials(self, *states: str) -> list[FrozenTrial]:
        wanted = [self._optuna.trial.TrialState[state] for state in states]
        return self.study.get_trials(deepcopy=False, states=tuple(wanted))

    def _done(self) -> int:
        return len(self._trials("COMPLETE", "PRUNED"))

    def _over(self, began: float) -> bool:
        minutes = (time.monotonic() - began) / 60
        limits = self.limits
        return (limits.trials is not None and self._done() >= limits.trials) or (
            limits.minutes is not None and minutes >= limits.minutes
        )

    def _said(self) -> str:
        """The best so far, and how many edits no other beats in both gain and loss."""
        allowed = [one for one in self.tried() if one.feasible]
        if not allowed:
            return "Searching: none within the limits yet"
        best = max(allowed, key=lambda one: one.gain)
        loss = math.expm1(best.changes["nll"].mean)
        return (
            f"Searching: {len(front(allowed))} on the front; best {best.gain:+.2f} sd, "
            f"perplexity {loss:+.1%} ({best.candidate.settings.rule})"
        )

    def _one(self) -> None:
        done = self._done()
        first = list(self.space.first())
        samplers = self._optuna.samplers
        sampler = samplers.TPESampler(
            multivariate=True, group=True, seed=(self.seed * 1_000_003 + done) % 2**32,
            n_startup_trials=len(first),
        )  # fmt: skip
        if done < len(first):
            sampler = samplers.PartialFixedSampler(first[done], sampler)
        self.study.sampler = sampler
        trial = self.study.ask()
        try:
            outcome = self._try(trial)
        except DeclutchError as error:
            # One that chooses nothing, or for which there is no programme, is no edit.
            trial.set_user_attr("why", str(error))
            self.study.tell(trial, state=self._optuna.trial.TrialState.PRUNED)
        except BaseException:
            self.study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
            raise
        else:
            self.study.tell(trial, outcome)

    def _try(self, trial: Trial) -> list[float]:
        """The two objectives of the next candidate.

        Raises:
            DeclutchError: it is no edit, or ruins the model.
        """
        began = time.monotonic()
        candidate = self.space.suggest(trial)
        patch = self._locate(candidate)
        if not len(patch):
            raise SettingsError("It chooses no weight.")
        edit = _edit_hash(patch)
        known = next((one for one in self.tried() if one.edit == edit), None)
        changes = known.changes if known else self._measure(patch)
        gain = min(changes[f"margin/{name}"].mean / spread for name, spread in self.spreads.items())
        if not all(math.isfinite(value) for value in (gain, changes["nll"].mean)):
            raise SettingsError("It ruins the model: a measure is no finite number.")
        costs = {"perplexity": changes["nll"].mean - math.log(self.limits.perplexity)}
        if "opening/harmless" in changes:
            costs["opening"] = changes["opening/harmless"].mean - self.limits.opening
        for name, value in costs.items():
            trial.set_constraint(name, value)
        facts = {
            "weights": len(patch),
            "edit": edit,
            "feasible": all(value <= 0 for value in costs.values()),
            "seconds": time.monotonic() - began,
            "changes": {name: asdict(change) for name, change in changes.items()},
        }
        trial.set_user_attr("tried", facts)
        return [gain, changes["nll"].mean]


def front(tried: Sequence[Tried]) -> list[Tried]:
    """Those that no other beats in both the smallest gain and the loss on general text."""
    found: list[Tried] = []
    for one in sorted(tried, key=lambda one: (one.changes["nll"].mean, -one.gain)):
        if not found or one.gain > found[-1].gain:
            found.append(one)
    return found


def _tried(trial: FrozenTrial, space: Space) -> Tried:
    facts: dict[str, Any] = trial.user_attrs["tried"]
    return Tried(
        number=trial.number,
        candidate=space.candidate(trial.params),
        gain=trial.values[0],
        changes={name: Change(**change) for name, change in facts["changes"].items()},
        **{name: facts[name] for name in ("weights", "edit", "feasible", "seconds")},
    )


def _edit_hash(patch: Patch) -> str:
    positions = {
        name: sha256(patch.indices[name].numpy().tobytes()).hexdigest() for name in patch.indices
    }
    return sha256_json([positions, patch.info.scale])
