"""Find the edit that helps a model, and prove it; or say that none does.

Three stages of rising cost: candidates by cheap true measures, survivors by replies to the tuning
prompts, and the winner with its controls on the proof prompts, which nothing was searched on.
"""

from __future__ import annotations

import math
import shutil
import statistics as numbers
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declutch.comparing.checks import Guard, check_guards, guarded_metrics, parse_guards
from declutch.comparing.comparison import Comparison, ComparisonRow
from declutch.comparing.pooling import pooled
from declutch.data.bundled import load_bundled
from declutch.data.encoding import Encoder
from declutch.data.example import Example
from declutch.data.loading import load_examples
from declutch.data.names import HARMLESS, contrast_of
from declutch.errors import SettingsError
from declutch.evaluating.compare import Side, compare
from declutch.evaluating.evaluate import evaluate
from declutch.evaluating.plan import Plan, decoding_from
from declutch.files import read_json, write_json
from declutch.patching import Patch
from declutch.progress import log
from declutch.settings import LocateSettings, RunSettings, ScoreSettings, TuneSettings
from declutch.stages import AFTER, BEFORE, PATCH, SCORES
from declutch.tuning.proof import Proof, controls, proven
from declutch.tuning.quick import SORTS, QuickItems, QuickSet, changes
from declutch.tuning.record import (
    TUNE_FILE,
    WINNER,
    Change,
    Generated,
    TriedEdit,
    TuneRecord,
)
from declutch.tuning.rounds import Round, folder_of
from declutch.tuning.search import STORE, Limits, Search, Tried, front
from declutch.tuning.space import Candidate, Space
from declutch.tuning.split import split_suite
from declutch.tuning.survivors import generate, ranked
from declutch.tuning.workers import workers

if TYPE_CHECKING:
    from declutch.models.loading import LoadedModel
    from declutch.scoring.shortlists import Scores
    from declutch.suites.base import Suite

ORIGIN = "origin"
_UNIT_WEIGHTS = 100
_LOOKS = "winners.json"
DEFAULT_GUARDS = ("over_refusal<=baseline", "empty<=baseline", "repeated<=baseline")


@dataclass(frozen=True)
class Tuned:
    """What came out.

    Attributes:
        patch: the winner's; None where no candidate was within the limits.
        proof: the winner and its controls against the original, the winner first.
    """

    record: TuneRecord
    patch: Patch | None
    proof: Proof


class Tuning:
    """The stages, on a folder; what is there is gone on with.

    Args:
        settings: of the run whose scores these are.
        plan: the suite and the judges.
        again: scores at the candidates with a patch applied, kept in a folder; for rounds.

    Raises:
        DataError: a set is too small to be shared out.
        SettingsError: the suite has no pairs of a coupled dimension.
    """

    def __init__(
        self,
        settings: RunSettings,
        plan: Plan,
        loaded: LoadedModel,
        scores: Scores,
        out: Path,
        again: Callable[[Patch, Path], object] | None = None,
    ) -> None:
        self.settings, self.plan, self.loaded, self.scores = settings, plan, loaded, scores
        self.out, self._again = out, again
        self._rounds: dict[int, Round] = {}
        self.tune: TuneSettings = settings.tune
        self.couple = list(settings.couple)
        self.split = split_suite(plan.suite, self.tune.tuning_share, settings.score.seed)
        if missing := [name for name in self.couple if name not in plan.suite.pairs]:
            raise SettingsError(
                f"There are no pairs of {', '.join(missing)} to search on: tune needs a suite with "
                "pairs of a good and a bad response (docs/tune.md)."
            )

    def all_stages(self) -> Tuned:
        """Search, let survivors reply, prove the winner."""
        log.info("The original model's replies to the tuning prompts")
        self._reply(ORIGIN, None)
        searches = list(self._searched())
        tried = [one for search in searches for one in search.tried()]
        log.info("Of %d candidates the most promising reply", len(tried))
        generated, predictors = generate(tried, self.tune.survivors, self._generated)
        winner = _best(generated)
        proof, looks = self._prove(winner, generated) if winner else ({}, 0)
        record = TuneRecord(
            model=self.loaded.info.id,
            couple=tuple(self.couple),
            exclude=tuple(self.settings.exclude),
            split=self.split.counts(),
            tokens=self.quick.tokens,
            openings=tuple(self.loaded.tokenizer.decode(list(ids)) for ids in self.quick.openings),
            tried=len(tried),
            pruned=sum(search.pruned for search in searches),
            within_limits=sum(one.feasible for one in tried),
            seconds_each=numbers.median(one.seconds for one in tried) if tried else 0.0,
            predictors=predictors,
            front=tuple(map(tried_edit, front([one for one in tried if one.feasible]))),
            generated=tuple(generated),
            winner=winner,
            proven=tuple(proven(proof, self.couple)),
            looks=looks,
        )
        write_json(self.out / TUNE_FILE, record.model_dump(mode="json"))
        return Tuned(record, self._patch(_candidate(winner)) if winner else None, proof)

    # --- candidates -----------------------------------------------------------------------

    @cached_property
    def quick(self) -> QuickSet:
        """The fixed set: tuning pairs and passages, and the original's own replies."""
        suite, most = self.split.tuning, self.tune.quick_items
        pairs = {name: suite.pairs[name][:most] for name in self.couple}
        pairs[HARMLESS] = unscored_harmless(self.settings.score)[:most]
        evidence = Side.read(self.out / "tuning" / ORIGIN).evidence
        rows = {}
        for sort, kind in zip(SORTS, ("awareness", "over_refusal"), strict=True):
            sets = [evidence.rows(each) for each in evidence.sets_of(kind)]
            rows[sort] = [row for side_by_side in zip(*sets, strict=False) for row in side_by_side]
        rows = {sort: found[:most] for sort, found in rows.items()}
        decoding = decoding_from(self.plan.settings)
        encoder = Encoder(
            self.loaded.tokenizer, decoding.prompt_format, self.plan.settings.max_length,
            decoding.thinking,
        )  # fmt: skip
        items = QuickItems(pairs, [passage.text for passage in suite.passages[:most]], rows)
        return QuickSet(items, encoder, evidence.manner_judges[0], self.loaded.model)

    def take_part(self, number: int) -> None:
        """Try candidates of a round that another process began, until it is over."""
        self._search(number).run()

    def _searched(self) -> Iterator[Search]:
        """The search of each round, finished."""
        found: list[Search] = []
        for number in range(1, self.tune.rounds + 1):
            if number > 1 and not self._begun(number, found):
                log.info("Without round %d: no edit is within its part of the limits", number)
                return
            search = self._search(number)
            log.info("Searching: %d tokens are read for each candidate", self.quick.tokens)
            with workers(self.settings, self.out, number):
                search.run()
            found.append(search)
            yield search

    def _begun(self, number: int, before: Sequence[Search]) -> bool:
        """Choose what a round goes on from, and score again what is left; False if there is none.

        An edit is chosen once: to go on with a longer search leaves the later rounds as they are.
        """
        folder = folder_of(self.out, number)
        if not (folder / PATCH.name).exists():
            part = math.log(self.tune.max_perplexity) * (number - 1) / self.tune.rounds
            allowed = [
                one
                for search in before
                for one in search.tried()
                if one.feasible and one.gain > 0 and not one.candidate.settings.scale
                and one.changes["nll"].mean <= part
            ]  # fmt: skip
            if not allowed:
                return False
            best = ranked(allowed, allowed)[0]
            log.info("Round %d goes on from %s", number, best.candidate)
            self._patch(best.candidate).save(folder / PATCH.name)
        assert self._again is not None
        self._again(Patch.load(folder / PATCH.name), folder / SCORES.name)
        return True

    def _search(self, number: int) -> Search:
        quick, model = self.quick, self.loaded.model
        origin = quick.read(model)

        def measure(patch: Patch) -> Iterator[dict[str, Change]]:
            with patch.applied(model, check=False):
                for step in quick.steps(model):
                    yield changes(origin, step)

        rounds, trials = self.tune.rounds, self.tune.trials
        return Search(
            self.out / STORE,
            self._space(number),
            self._patch,
            measure,
            {name: float(origin.values[f"margin/{name}"].std()) or 1.0 for name in self.couple},
            Limits(
                self.tune.minutes and self.tune.minutes / rounds,
                trials and math.ceil(trials / rounds),
                self.tune.max_perplexity,
            ),
            self.settings.score.seed,
            quick.sha256,
        )

    def _space(self, number: int) -> Space:
        """What is searched, in units of the smallest ratio at which the paper's rule takes some."""
        info = self.scores.info
        most = float(info.settings["shortlist"])
        least = 1.001 / min(one.numel for one in info.matrices.values())
        ladder = [least * 10 ** (power / 2) for power in range(14)]
        for unit in [*(ratio for ratio in ladder if ratio < most), most]:
            weights = len(self._patch(Candidate(LocateSettings(ratio=unit), None)))
            if weights >= _UNIT_WEIGHTS:
                break
        narrower = ("mlp", "attention") if info.settings["target_modules"] == "all" else ()
        harmless = contrast_of(HARMLESS) in self.scores.dimensions
        return Space(unit, max(weights, 1), most, harmless, number, (None, *narrower))

    def _patch(self, candidate: Candidate) -> Patch:
        number = candidate.round
        if number not in self._rounds:
            self._rounds[number] = Round.read(number, self.scores, self.out)
        return self._rounds[number].patch(candidate, self.settings)

    # --- replies --------------------------------------------------------------------------

    def _reply(self, name: str, patch: Patch | None) -> Path:
        """Short replies to the tuning prompts, judged."""
        suite = self.split.tuning.prompts_alone().limited(self.tune.tuning_limit)
        folder = self.out / "tuning" / name
        tokens = self.tune.tuning_tokens
        self._evaluate(suite, folder, patch, max_new_tokens=tokens, capability=(), dependence=None)
        return folder

    def _evaluate(self, suite: Suite, folder: Path, patch: Patch | None, **options: Any) -> None:
        evaluate(
            self.loaded.model, self.loaded.tokenizer, suite, judges=self.plan.judges,
            settings=replace(self.plan.settings, limit=None, **options), out=folder, patch=patch,
            model_info=self.loaded.info,
        )  # fmt: skip

    def _generated(self, one: Tried) -> Generated:
        name = f"trial-{one.name}"
        log.info("%s: %s (%d weights)", name, one.candidate, one.weights)
        folder = self._reply(name, self._patch(one.candidate))
        comparison = self._compared(self.out / "tuning" / ORIGIN, folder)
        gains = gains_of(pooled(comparison.outcomes), self.couple)
        checks = check_guards(self._guards(comparison), comparison.after, comparison)
        return Generated(
            edit=tried_edit(one),
            gains=gains,
            gain=min((numbers.mean(each.values()) for each in gains.values()), default=0.0),
            broken=tuple(f"{one.guard}: {one.metric}" for one in checks if not one.held),
        )

    def _compared(self, before: Path, after: Path) -> Comparison:
        return compare(before, after, measures=self.settings.judging.measure)

    def _guards(self, comparison: Comparison) -> list[Guard]:
        """Those that replies alone can show; the others are looked at in the proof."""
        found = []
        for guard in parse_guards(self.settings.checks.guard or DEFAULT_GUARDS):
            try:
                guarded_metrics(guard, comparison.after.metrics, comparison.after.outcomes)
            except SettingsError:
                continue
            found.append(guard)
        return found

    # --- proof ----------------------------------------------------------------------------

    def _prove(self, winner: Generated, generated: Sequence[Generated]) -> tuple[Proof, int]:
        by_rule: dict[str, list[Generated]] = {}
        for one in generated:
            by_rule.setdefault(one.edit.options["rule"], []).append(one)
        best = {rule: _best(some) for rule, some in by_rule.items()}
        edits = controls(
            self._patch(_candidate(winner)),
            {rule: self._patch(_candidate(one)) for rule, one in best.items() if one},
            self.scores,
            self.settings.score.seed,
            self.tune.controls,
        )
        looks = self._looked(edits[WINNER])
        log.info("Proof: the original model")
        before = self.out / BEFORE.name
        self._evaluate(self.split.proof, before, None)
        found = {}
        for name, patch in edits.items():
            log.info("Proof: %s, %d weights", name, len(patch))
            folder = self.out / (AFTER.name if name == WINNER else f"proof/{name}")
            self._evaluate(self.split.proof, folder, patch)
            found[name] = (patch, self._compared(before, folder))
        return found, looks

    def _looked(self, winner: Patch) -> int:
        """How many winners the proof prompts were shown by now; what is left of others goes."""
        path = self.out / "proof" / _LOOKS
        seen: list[str] = read_json(path) if path.exists() else []
        if seen[-1:] != [winner.info.checksum]:
            for folder in (self.out / AFTER.name, path.parent):
                shutil.rmtree(folder, ignore_errors=True)
            write_json(path, [*seen, winner.info.checksum])
        return len({*seen, winner.info.checksum})


def unscored_harmless(settings: ScoreSettings) -> tuple[Example, ...]:
    """Bundled harmless pairs that scoring did not see."""
    source = f"bundled:{HARMLESS}"
    seen = load_examples(
        source, num_samples=settings.num_samples, seed=settings.seed, allow_fewer=True
    )
    scored = {example.id for example in seen.examples}
    rest = tuple(one for one in load_bundled(HARMLESS) if one.id not in scored)
    return rest or load_bundled(HARMLESS)


def gains_of(rows: Sequence[ComparisonRow], couple: Sequence[str]) -> dict[str, dict[str, float]]:
    """By coupled dimension and judge, what was gained."""
    gains: dict[str, dict[str, float]] = {name: {} for name in couple}
    for row in rows:
        if row.metric.dimension in gains:
            gains[row.metric.dimension][row.name.partition("/")[2]] = row.difference or 0.0
    return {name: by_judge for name, by_judge in gains.items() if by_judge}


def _best(some: Sequence[Generated]) -> Generated | None:
    """That of the largest gain, of those that keep all guards if any does."""
    return max(some, key=lambda one: (not one.broken, one.gain), default=None)


def tried_edit(one: Tried) -> TriedEdit:
    """A candidate as it is written down."""
    return TriedEdit(
        name=str(one.candidate),
        options={
            **asdict(one.candidate.settings),
            "target_modules": one.candidate.target_modules,
            "round": one.candidate.round,
        },
        weights=one.weights,
        gain=one.gain,
        feasible=one.feasible,
        changes=one.changes,
    )


def _candidate(one: Generated) -> Candidate:
    options = dict(one.edit.options)
    target, number = options.pop("target_modules"), options.pop("round")
    return Candidate(LocateSettings(**options), target, number)
