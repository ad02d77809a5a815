"""The search: candidates from the scores, each tried in memory by cheap true measures.

Optuna draws them (TPE, two objectives: the smallest gain of a coupled dimension's margin, and the
loss on general text) and keeps them in SQLite, so that a search goes on where it stopped and
several processes share it. Candidates are drawn in generations, each from the outcomes of those
before it and a seed of its own: they are the same whatever was killed, and however many processes
there are.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from declutch.errors import DeclutchError, SettingsError
from declutch.extras import require
from declutch.files import sha256_json
from declutch.patching import Patch
from declutch.progress import announce, progress_bar
from declutch.records import differences
from declutch.tuning.record import Change
from declutch.tuning.space import Candidate, Space

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

STORE = "search.db"
_GENERATION = 8  # candidates that are drawn without knowing of each other's outcomes
_WAIT = 0.05  # seconds between looks at what other processes do
# An edit whose loss grows by more than so many times what it may is not measured further.
_HOPELESS = 3.0
_LEAST_LOSS = 0.01
_DIRECTIONS = ("maximize", "minimize")


@dataclass(frozen=True)
class Tried:
    """A candidate that was tried.

    Attributes:
        name: its round and its place in it.
        edit: hash of the positions and the scale; two rules may choose the same.
        changes: of each cheap measure against the original.
        gain: the smallest gain of a coupled dimension, in standard deviations of its margins.
        feasible: within the limits on what it may cost.
        seconds: that trying it took.
    """

    name: str
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
        store: the SQLite file; made if it is not there; claims of what is tried stand beside it.
        space: a search of its own in the store for each round.
        locate: a candidate's patch.
        measure: its changes, with the patch applied: first those of general text, then all.
        spreads: by coupled dimension, the standard deviation of the original's margins.
        items: a hash of what candidates are tried on.

    Raises:
        MissingExtra: Optuna is not installed.
        SettingsError: the store holds a search that was made otherwise.
    """

    def __init__(
        self,
        store: Path,
        space: Space,
        locate: Callable[[Candidate], Patch],
        measure: Callable[[Patch], Iterator[dict[str, Change]]],
        spreads: Mapping[str, float],
        limits: Limits,
        seed: int,
        items: str = "",
    ) -> None:
        self._optuna = require("optuna", extra="tune", why="a search")
        self._optuna.logging.set_verbosity(self._optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=self._optuna.exceptions.ExperimentalWarning)
        self.space, self.limits, self.seed, self.spreads = space, limits, seed, spreads
        self._locate, self._measure = locate, measure
        self._begin = list(space.first())
        self._claims = store.with_name(f".{store.name}.claims")
        self._claims.mkdir(parents=True, exist_ok=True)
        self.study: Study = self._optuna.create_study(
            directions=_DIRECTIONS, storage=f"sqlite:///{store}", study_name=f"round-{space.round}",
            load_if_exists=True,
        )  # fmt: skip
        self._check_made(store, items)

    def _check_made(self, store: Path, items: str) -> None:
        """See that a search that is gone on with draws and judges candidates as this one does."""
        made = {
            "--seed": self.seed,
            "--max-perplexity": self.limits.perplexity,
            "what is searched": json.loads(json.dumps(asdict(self.space))),
            "what candidates are tried on": items,
        }
        known = self.study.user_attrs.setdefault("made", made)
        if changed := list(differences(known, made)):
            raise SettingsError(
                f"{store} holds a search that was made otherwise: {'; '.join(changed)}. Give the "
                "same settings to go on with it, or another -o."
            )
        self.study.set_user_attr("made", made)

    @property
    def pruned(self) -> int:
        """How many candidates were no edits, or cost too much to be measured further."""
        return sum(trial.values is None for trial in self._trials().values())

    def run(self) -> None:
        """Try candidates, after those that are there; other processes may do so meanwhile."""
        began = time.monotonic()
        announce("Searching", self.limits.trials)
        with progress_bar() as bar:
            task = bar.add_task("Searching", total=self.limits.trials)
            while not self._over(began):
                with self._claimed() as index:
                    if index is None:
                        time.sleep(_WAIT)
                    else:
                        self.study.add_trial(self._finished(index))
                bar.update(task, completed=len(self._trials()), description=self._said())

    def tried(self) -> list[Tried]:
        """All candidates that were measured, in the order they were drawn; each edit once."""
        found: dict[str, Tried] = {}
        for index, trial in self._trials().items():
            if trial.values is not None:
                one = _tried(index, trial, self.space)
                found.setdefault(one.edit, one)
        return list(found.values())

    def _trials(self) -> dict[int, FrozenTrial]:
        """By its place in the search, each candidate that is finished, in their order."""
        trials = self.study.get_trials(deepcopy=False)
        return dict(sorted((trial.user_attrs["index"], trial) for trial in trials))

    def _over(self, began: float) -> bool:
        minutes = (time.monotonic() - began) / 60
        limits = self.limits
        return (limits.trials is not None and len(self._trials()) >= limits.trials) or (
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

    @contextlib.contextmanager
    def _claimed(self) -> Iterator[int | None]:
        """The place of a candidate that is this process's to try; None if all have their process.

        A claim is a lock, which the system takes back when the process ends, however it does.
        """
        first = len(self._trials()) // _GENERATION * _GENERATION
        end = min(first + _GENERATION, self.limits.trials or math.inf)
        for index in range(first, int(end)):
            lock = FileLock(self._claims / str(index % _GENERATION))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                # Another process may have finished it, and the generation, before the claim.
                if index not in self._trials():
                    yield index
                    return
            finally:
                lock.release()
        yield None

    def _finished(self, index: int) -> FrozenTrial:
        """The candidate at a place in the search, and what came of it."""
        trial = self._drawn(index)
        candidate = self.space.suggest(trial)
        make, states = self._optuna.trial.create_trial, self._optuna.trial.TrialState
        drawn = {"params": trial.params, "distributions": trial.distributions}
        facts: dict[str, Any] = {"index": index}
        try:
            values, costs, tried = self._outcome(candidate, index)
        except DeclutchError as error:
            # One that chooses nothing, or for which there is no programme, is no edit.
            facts["why"] = str(error)
            found: FrozenTrial = make(state=states.PRUNED, user_attrs=facts, **drawn)
        else:
            facts["tried"] = tried
            found = make(values=values, constraints=costs, user_attrs=facts, **drawn)
        return found

    def _drawn(self, index: int) -> Trial:
        """A trial that knows of all generations before its own."""
        first = self._begin
        samplers = self._optuna.samplers
        sampler = samplers.TPESampler(
            multivariate=True, group=True, seed=(self.seed * 1_000_003 + index) % 2**32,
            n_startup_trials=len(first),
        )  # fmt: skip
        if index < len(first):
            sampler = samplers.PartialFixedSampler(first[index], sampler)
        study = self._optuna.create_study(directions=_DIRECTIONS, sampler=sampler)
        known = index // _GENERATION * _GENERATION
        study.add_trials([trial for place, trial in self._trials().items() if place < known])
        drawn: Trial = study.ask()
        return drawn

    def _outcome(
        self, candidate: Candidate, index: int
    ) -> tuple[list[float], dict[str, float], Any]:
        """The two objectives of a candidate, what it costs beyond the limits, and all about it.

        Raises:
            DeclutchError: it is no edit, or ruins the model.
        """
        began = time.monotonic()
        patch = self._locate(candidate)
        if not len(patch):
            raise SettingsError("It chooses no weight.")
        edit = _edit_hash(patch)
        known = next((one for one in self.tried() if one.edit == edit), None)
        changes = known.changes if known else self._measured(patch, index)
        gain = min(changes[f"margin/{name}"].mean / spread for name, spread in self.spreads.items())
        if not math.isfinite(gain):
            raise SettingsError("It ruins the model: a measure is no finite number.")
        costs = {"perplexity": changes["nll"].mean - math.log(self.limits.perplexity)}
        if "opening/harmless" in changes:
            costs["opening"] = changes["opening/harmless"].mean - self.limits.opening
        tried = {
            "weights": len(patch),
            "edit": edit,
            "feasible": all(value <= 0 for value in costs.values()),
            "seconds": time.monotonic() - began,
            "changes": {name: asdict(change) for name, change in changes.items()},
        }
        return [gain, changes["nll"].mean], costs, tried

    def _measured(self, patch: Patch, index: int) -> dict[str, Change]:
        """All its changes; of those that begin the search whatever they cost, to know each rule.

        Raises:
            SettingsError: general text alone shows that it is far beyond the limit.
        """
        found: dict[str, Change] = {}
        for changes in self._measure(patch):
            found |= changes
            loss = found["nll"].mean
            most = _HOPELESS * max(math.log(self.limits.perplexity), _LEAST_LOSS)
            if not loss <= (most if index >= len(self._begin) else math.inf):
                raise SettingsError(f"General text alone loses {loss:.3g} nats a token.")
        return found


def front(tried: Sequence[Tried]) -> list[Tried]:
    """Those that no other beats in both the smallest gain and the loss on general text."""
    found: list[Tried] = []
    for one in sorted(tried, key=lambda one: (one.changes["nll"].mean, -one.gain)):
        if not found or one.gain > found[-1].gain:
            found.append(one)
    return found


def _tried(index: int, trial: FrozenTrial, space: Space) -> Tried:
    facts: dict[str, Any] = trial.user_attrs["tried"]
    return Tried(
        name=f"{space.round}-{index}",
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
