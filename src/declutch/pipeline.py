"""The whole of SPIN in one call: score, locate, evaluate, apply, evaluate again, report.

Each stage leaves its own folder in ``OUT``; a second run on the same ``OUT`` goes on where the
first stopped, or says which setting differs.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declutch.checkpoint import check_writable, write_checkpoint
from declutch.comparing.checks import Guard, parse_guards
from declutch.data.names import check_data_by_name
from declutch.errors import SettingsError
from declutch.evaluating.checking import check_guard_names, guard_comparison
from declutch.evaluating.compare import compare
from declutch.evaluating.evaluate import evaluate
from declutch.evaluating.plan import Plan, make_plan
from declutch.files import expanded
from declutch.locating import CONTRASTING, check_dimensions, find_rule, locate, ratio_notes
from declutch.locating.units import ranked_in
from declutch.locks import locked
from declutch.models.loading import LoadedModel, load_model
from declutch.patching import Patch
from declutch.progress import log
from declutch.ranges import Seconds, checked
from declutch.reporting.report import ReportPaths, write_report
from declutch.scoring.again import score_again
from declutch.scoring.score import score
from declutch.settings import PARTS, RunSettings, StabilitySettings
from declutch.stability import FILE_NAME as STABILITY_FILE
from declutch.stability import FOLDER, Sample, Stability, read_samples
from declutch.stages import AFTER, BEFORE, MEMORY, MODEL, PATCH, SCORES, RunFolder, refuse_other
from declutch.tuning.space import refuse_unsearchable
from declutch.tuning.tune import Tuned, Tuning

if TYPE_CHECKING:
    from declutch.scoring.shortlists import Scores

# The rule of a run that searches for its edit.
AUTO = "auto"


def run(
    model: RunSettings | Path | str,
    couple: Mapping[str, Any] | None = None,
    exclude: Mapping[str, Any] | None = None,
    *,
    out: Path | str,
    memory_limit: int | None = None,
    checkpoint_interval: float = 300.0,
    **options: Any,
) -> ReportPaths:
    """Find the coupled neurons of a model, suppress them, and show what that did.

    Args:
        model: a folder, a hub id or ``demo``; or all settings at once.
        couple, exclude: for each dimension where its examples are, or rows in memory.
        out: the folder to write.
        memory_limit: bytes that scoring may use beyond the loaded model.
        checkpoint_interval: seconds between checkpoints inside a dimension.
        options: fields of the settings by name (``ratio=1e-5``, ``num_samples=64``).

    Returns:
        The report's paths, its conclusion and the comparison behind it.

    Raises:
        SettingsError: a stage in ``out`` was made with other settings, another process writes
            there, or an option is wrong.
        DeclutchError: see the stages.
    """
    settings = _settings(model, couple, exclude, options)
    with _on_folder(settings, out, memory_limit, checkpoint_interval) as stages:
        return stages.all_stages()


def tune(
    model: RunSettings | Path | str,
    couple: Mapping[str, Any] | None = None,
    exclude: Mapping[str, Any] | None = None,
    *,
    out: Path | str,
    memory_limit: int | None = None,
    checkpoint_interval: float = 300.0,
    **options: Any,
) -> Tuned:
    """Search for an edit that helps, and prove it on prompts that it was not searched on.

    ``out`` gets scores, search.db, tuning (replies by which survivors were chosen), before and
    after (the original and the winner on the proof prompts), proof (the controls on them), patch
    and tune.json. The same call on the same ``out`` goes on where it stopped.

    Args:
        model, couple, exclude, out, memory_limit, checkpoint_interval, options: see :func:`run`.

    Raises:
        SettingsError: an option is wrong, or there are no pairs to search on.
        DataError: there are too few prompts to search on some and prove on others.
        MissingExtra: Optuna is not installed.
        DeclutchError: see the stages.
    """
    settings = _settings(model, couple, exclude, options)
    settings = replace(settings, locate=replace(settings.locate, rule=AUTO))
    with _on_folder(settings, out, memory_limit, checkpoint_interval) as stages:
        found = stages.tune(stages.load())
        if found.patch is not None:
            stages.report()
    return found


def _settings(
    model: RunSettings | Path | str,
    couple: Mapping[str, Any] | None,
    exclude: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> RunSettings:
    if not isinstance(model, RunSettings):
        name: str = checked("model", str, model)
        return RunSettings.of(name, couple or {}, exclude, **options)
    if couple or exclude or options:
        raise SettingsError("Give all settings at once, or a model and options; not both.")
    return model


@contextlib.contextmanager
def _on_folder(
    settings: RunSettings, out: Path | str, memory_limit: int | None, checkpoint_interval: float
) -> Iterator[_Run]:
    """The stages on a folder that no other process writes to meanwhile."""
    out = expanded(checked("out", str, out))
    memory_limit = checked("memory_limit", int | None, memory_limit)
    checkpoint_interval = checked("checkpoint_interval", Seconds, checkpoint_interval)
    if settings.locate.rule == AUTO or settings.locate.rule in CONTRASTING:
        contrast = tuple(dict.fromkeys((*settings.score.contrast, *settings.couple)))
        settings = replace(settings, score=replace(settings.score, contrast=contrast))
    asked = _look_before(settings)
    refuse_other(out)
    with locked(out):
        yield _Run(settings, asked, out, memory_limit, checkpoint_interval)


@dataclass(frozen=True)
class _Asked:
    """What was looked up before the long work; ``others`` are other samples, by seed."""

    data: Mapping[str, Any]
    plan: Plan
    guards: tuple[Guard, ...]
    others: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


def _look_before(settings: RunSettings) -> _Asked:
    """See that all that is asked for is there and makes sense, before anything is begun."""
    for given in (settings.couple, settings.exclude):
        check_data_by_name(given)
    rule = settings.locate.rule
    check_dimensions(list(settings.couple), list(settings.exclude), rule)
    if rule == AUTO:
        refuse_unsearchable(settings)
    else:
        find_rule(rule, settings.locate)
    plan = make_plan(settings.evaluate)
    guards = parse_guards(settings.checks.guard)
    check_guard_names(guards, plan)
    samples = read_samples(settings)
    return _Asked(samples.pop(settings.score.seed), plan, guards, samples)


@dataclass
class _Run:
    """The stages on one folder; what is there and was made from the same is kept."""

    settings: RunSettings
    asked: _Asked
    out: Path
    memory_limit: int | None
    checkpoint_interval: float

    def __post_init__(self) -> None:
        self.folder = RunFolder(self.out, _described(self.settings))
        self.others = {seed: self._with(seed, data) for seed, data in self.asked.others.items()}

    def _with(self, seed: int, data: Mapping[str, Any]) -> _Run:
        """The same on another sample of the data."""
        score = replace(self.settings.score, seed=seed)
        settings = replace(self.settings, score=score, stability=StabilitySettings())
        asked = replace(self.asked, data=data, others={})
        return replace(self, settings=settings, asked=asked, out=self.out / FOLDER / str(seed))

    def all_stages(self) -> ReportPaths:
        """Algorithm 1 of the paper, with an evaluation before and after."""
        loaded = self.load()
        if self.settings.locate.rule == AUTO:
            return self.tuned(loaded)

        log.info("1 of 5  Scoring %s", ", ".join(self.asked.data))
        scores = self.score(loaded)
        log.info("2 of 5  Locating coupled neurons")
        patch = self.locate(loaded, scores)
        log.info("3 of 5  Evaluating the model as it is")
        self.evaluate(loaded, None)
        log.info("4 of 5  Applying the patch and evaluating again")
        self.apply(loaded, patch)
        self.evaluate(loaded, patch)
        self.other_samples(loaded, patch)
        log.info("5 of 5  Writing the report")
        return self.report()

    def tuned(self, loaded: LoadedModel) -> ReportPaths:
        """The same with the edit that a search finds, evaluated on the prompts that prove it.

        Raises:
            SettingsError: the search finds none that helps.
        """
        found = self.tune(loaded)
        if found.patch is None:
            raise SettingsError(f"--rule auto: {found.record.sentence}")
        if not found.record.helps:
            page = self.report().html
            raise SettingsError(
                f"--rule auto writes no checkpoint, since no edit was proven to help. "
                f"{found.record.sentence} {page} shows what was tried; «declutch apply» takes "
                f"{self.out / PATCH.name} all the same."
            )
        self.apply(loaded, found.patch)
        return self.report()

    def tune(self, loaded: LoadedModel) -> Tuned:
        """Search for an edit, and prove it; the patch of the winner is kept."""
        scores = self.score(loaded)

        def again(patch: Patch, folder: Path) -> Scores:
            with patch.applied(loaded.model, check=False):
                return score_again(
                    loaded.model, loaded.tokenizer, self.asked.data, scores,
                    self.settings.score, out=folder, memory_limit=self.memory_limit,
                )  # fmt: skip

        tuning = Tuning(self.settings, self.asked.plan, loaded, scores, self.out, again)
        found = tuning.all_stages()
        if found.patch is not None:
            found.patch.save(self.out / PATCH.name, overwrite=True)
        return found

    def load(self) -> LoadedModel:
        """The model, once it is seen that what is in the folder belongs to these settings."""
        loaded = load_model(self.settings.model, self.settings.load)
        check_writable(loaded)
        self.folder.check(SCORES, _scored_from(loaded))
        if self.settings.locate.rule != AUTO:
            self._check_folder(loaded)
        return loaded

    def _check_folder(self, loaded: LoadedModel) -> None:
        chosen = self.settings.locate
        ranked = ranked_in(loaded.model, chosen.granularity, self.settings.score.target_modules)
        ratio_notes(ranked, chosen.ratio, chosen.scope, chosen.granularity)
        self.folder.check(PATCH, self._located_from())
        for stage in (BEFORE, AFTER):
            self.folder.check(stage, self._evaluated_from(loaded))
        for other in self.others.values():
            other._check_folder(loaded)

    def score(self, loaded: LoadedModel) -> Scores:
        """Shortlists of every dimension."""
        finished = self.folder.done(
            SCORES, _scored_from(loaded), {"dimensions": list(self.asked.data)}
        )
        # Called in any case: scoring looks itself at what is there, and at the data.
        scores = score(
            loaded.model, loaded.tokenizer, self.asked.data,
            settings=self.settings.score, memory_limit=self.memory_limit,
            checkpoint_interval=self.checkpoint_interval,
            out=self.out / SCORES.name, model_info=loaded.info,
        )  # fmt: skip
        if not finished:
            self.folder.finish(SCORES)
        return scores

    def locate(self, loaded: LoadedModel, scores: Scores, *, empty: bool = False) -> Patch:
        """The patch, which must not be empty unless that will do."""
        patch = locate(
            scores, list(self.settings.couple), list(self.settings.exclude),
            settings=self.settings.locate, seed=self.settings.score.seed, model=loaded.model,
        )  # fmt: skip
        log.info("%s", patch.summary().split("\n")[0])
        for note in patch.info.notes:
            log.warning("Note: %s", note)
        if not len(patch) and not empty:
            raise SettingsError(
                f"Nothing to suppress: {patch.info.notes[-1]}. The scores are kept in "
                f"{self.out / SCORES.name}: try larger ratios with «declutch locate», then give "
                "one of them to this command, which goes on from the scores."
            )
        if not self.folder.done(PATCH, {**self._located_from(), "patch": patch.info.checksum}):
            patch.save(self.out / PATCH.name)
            self.folder.finish(PATCH)
        return patch

    def evaluate(self, loaded: LoadedModel, patch: Patch | None) -> None:
        """The model as it is, or with a patch."""
        stage = BEFORE if patch is None else AFTER
        made_from = self._evaluated_from(loaded)
        if patch is not None:
            made_from["patch"] = patch.info.checksum
        plan = self.asked.plan
        asked = {
            "evaluate.judge": {judge.name: dict(judge.settings) for judge in plan.judges},
            **({"evaluate.lengths": [*plan.settings.lengths]} if plan.settings.lengths else {}),
        }
        if not self.folder.done(stage, made_from, asked):
            evaluate(
                loaded.model, loaded.tokenizer, plan.suite,
                judges=plan.judges, settings=plan.settings, out=self.out / stage.name,
                patch=patch, model_info=loaded.info,
            )  # fmt: skip
            self.folder.finish(stage)

    def apply(self, loaded: LoadedModel, patch: Patch) -> None:
        """The patched checkpoint, read back from disk."""
        made_from = {"model": loaded.info.fingerprint, "patch": patch.info.checksum}
        if not self.folder.done(MODEL, made_from):
            checked = write_checkpoint(loaded, patch, self.out / MODEL.name, "patched")
            log.info("Read back from disk: all %d patched weights are right", checked)
            self.folder.finish(MODEL)

    def other_samples(self, loaded: LoadedModel, patch: Patch) -> None:
        """The same on other samples of the data, where they are asked for, and what differs."""
        (self.out / STABILITY_FILE).unlink(missing_ok=True)
        samples = {self.settings.score.seed: Sample(patch, self.out / AFTER.name)}
        for seed, other in self.others.items():
            log.info("        The same on the sample of seed %d", seed)
            found = other.locate(loaded, other.score(loaded), empty=True)
            other.evaluate(loaded, found)
            samples[seed] = Sample(found, other.out / AFTER.name)
        if self.others:
            measures = self.settings.judging.measure
            Stability.of(self.out / BEFORE.name, samples, measures).save(self.out)

    def report(self) -> ReportPaths:
        """Both evaluations side by side, the release checks, and the page."""
        comparison = compare(
            self.out / BEFORE.name, self.out / AFTER.name, measures=self.settings.judging.measure
        )
        checks = self.settings.checks
        comparison = guard_comparison(comparison, self.asked.guards, checks.guard_mode)
        return write_report(self.out, comparison)

    def _located_from(self) -> dict[str, Any]:
        chosen = asdict(self.settings.locate)
        if chosen["granularity"] == "weight":  # as runs of before there were others say it
            del chosen["granularity"]
        return {
            "couple": list(self.settings.couple),
            "exclude": list(self.settings.exclude),
            **{f"locate.{key}": value for key, value in chosen.items()},
            "score.seed": self.settings.score.seed,
        }

    def _evaluated_from(self, loaded: LoadedModel) -> dict[str, Any]:
        """A model is its weights and a suite is its content, wherever they were found."""
        plan = self.asked.plan
        chosen = asdict(plan.settings)
        for name in ("suite", "judge", "lengths", "batch_size"):
            del chosen[name]  # what they came to be is compared, or nothing depends on them
        return {
            **_scored_from(loaded),
            "evaluate.suite": f"{plan.suite.name} ({plan.suite.sha256()[:16]})",
            **{f"evaluate.{key}": _as_json(value) for key, value in chosen.items()},
        }


def _scored_from(loaded: LoadedModel) -> dict[str, Any]:
    return {"model": loaded.info.fingerprint, "dtype": loaded.info.dtype}


def _described(settings: RunSettings) -> dict[str, Any]:
    """The settings as JSON values; rows in memory are named, not written."""
    return {
        "model": settings.model,
        **{part: _as_json(asdict(getattr(settings, part))) for part in PARTS},
        **{
            group: {
                name: str(source) if isinstance(source, str | Path) else MEMORY
                for name, source in getattr(settings, group).items()
            }
            for group in ("couple", "exclude")
        },
    }


def _as_json(value: Any) -> Any:
    """Tuples as the lists that JSON makes of them."""
    return json.loads(json.dumps(value))
