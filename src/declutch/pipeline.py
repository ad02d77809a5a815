"""The whole of SPIN in one call: score, locate, evaluate, apply, evaluate again, report.

Each stage leaves its own folder in ``OUT``; a second run on the same ``OUT`` goes on where the
first stopped, or says which setting differs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declutch.checkpoint import check_writable, save_patched
from declutch.data.encoding import PromptFormat
from declutch.data.names import check_dimension_name
from declutch.data.sources import Source
from declutch.errors import SettingsError
from declutch.locating import Scope, check_options, locate, ratio_notes
from declutch.locks import locked
from declutch.measures.asking import Asked, check_evaluation
from declutch.measures.evaluate import evaluate
from declutch.models.loading import LoadedModel, ModelOptions, load_model
from declutch.models.matrices import find_matrices
from declutch.patching import Patch
from declutch.ranges import Count, Scale, Share, check_ranges
from declutch.replies.decoding import decoding_of
from declutch.reporting.report import ReportPaths, write_report
from declutch.scoring.score import ScoreSettings, score
from declutch.stages import AFTER, BEFORE, MODEL, PATCH, SCORES, RunFolder, refuse_other

if TYPE_CHECKING:
    from declutch.scoring.shortlists import Scores

log = logging.getLogger("declutch")


@dataclass(frozen=True)
class LocateSettings:
    """Which neurons are chosen, and what becomes of them; the defaults are the paper's."""

    ratio: Share = 5e-7
    rule: str = "coupled"
    scope: Scope = "matrix"
    scale: Scale = 0.0

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class EvaluateSettings:
    """How the model is judged before and after."""

    suite: tuple[str, ...] = ("bundled",)
    judge: tuple[str, ...] = ("heuristic",)
    batch_size: Count = 32
    max_new_tokens: Count = 64
    limit: Count | None = None

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides the outcome of a run."""

    model: str
    couple: Mapping[str, str]
    exclude: Mapping[str, str] = field(default_factory=dict)
    model_options: ModelOptions = field(default_factory=ModelOptions)
    score: ScoreSettings = field(default_factory=ScoreSettings)
    locate: LocateSettings = field(default_factory=LocateSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)


def demo_settings() -> RunSettings:
    """The demo: sized for ten minutes on two cores.

    The paper's ratio of 5e-7 would select nothing in matrices this small.
    """
    return RunSettings(
        model="demo",
        couple={"fairness": "bundled:fairness", "privacy": "bundled:privacy"},
        exclude={"general": "bundled:general"},
        score=ScoreSettings(num_samples=48),
        locate=LocateSettings(ratio=1e-5),
        evaluate=EvaluateSettings(limit=50, max_new_tokens=40, batch_size=50),
    )


def run(
    settings: RunSettings,
    out: Path | str,
    *,
    memory_limit: int | None = None,
    checkpoint_interval: float = 300.0,
) -> ReportPaths:
    """Find the coupled neurons of a model, suppress them, and show what that did.

    Returns:
        The report's paths, its verdict and the values behind it.

    Raises:
        SettingsError: a stage in ``out`` was made with other settings, another process writes
            there, or an option is wrong.
        DeclutchError: see the stages.
    """
    out = Path(out)
    chosen = settings.locate
    check_options(
        list(settings.couple), list(settings.exclude),
        ratio=chosen.ratio, rule=chosen.rule, scope=chosen.scope,
    )  # fmt: skip
    asked = _check_evaluation(settings.evaluate)
    data = {
        check_dimension_name(name): Source.parse(source)
        for name, source in {**settings.couple, **settings.exclude}.items()
    }
    refuse_other(out)
    with locked(out):
        return _run(settings, out, data, asked, memory_limit, checkpoint_interval)


def _run(
    settings: RunSettings,
    out: Path,
    data: Mapping[str, Source],
    asked: Asked,
    memory_limit: int | None,
    checkpoint_interval: float,
) -> ReportPaths:
    folder = RunFolder(out, asdict(settings))
    loaded = load_model(settings.model, settings.model_options)
    check_writable(loaded)
    # A ratio that selects nothing is known before the long work, not after it.
    coverage = find_matrices(loaded.model, settings.score.target_modules)
    ratio_notes(coverage.info(), settings.locate.ratio, settings.locate.scope)
    scored_from, located_from, evaluated_from = _made_from(settings, loaded, asked)
    for stage, made_from in (
        (SCORES, scored_from), (PATCH, located_from), (BEFORE, evaluated_from),
        (AFTER, evaluated_from),
    ):  # fmt: skip
        folder.check(stage, made_from)

    log.info("1 of 5  Scoring %s", ", ".join(data))
    finished = folder.done(SCORES, scored_from, {"dimensions": list(data)})
    # Called in any case: scoring looks itself at what is there, and at the data.
    scores = score(
        loaded.model, loaded.tokenizer, data,
        settings=settings.score, memory_limit=memory_limit,
        checkpoint_interval=checkpoint_interval,
        out=out / "scores", model_info=loaded.info,
    )  # fmt: skip
    if not finished:
        folder.finish(SCORES)

    log.info("2 of 5  Locating coupled neurons")
    patch = _locate(settings, scores)
    log.info("%s", patch.summary().split("\n")[0])
    for note in patch.info.notes:
        log.warning("Note: %s", note)
    if not len(patch):
        raise SettingsError(
            f"Nothing to suppress: {patch.info.notes[-1]}. The scores are kept in "
            f"{out / 'scores'}: try larger ratios with «declutch locate», then give one of them "
            "to this command, which goes on from the scores."
        )
    if not folder.done(PATCH, {**located_from, "patch": patch.info.checksum}):
        patch.save(out / "patch")
        folder.finish(PATCH)

    log.info("3 of 5  Evaluating the model as it is")
    judges = {"evaluate.judge": {judge.name: dict(judge.settings) for judge in asked.judges}}
    if not folder.done(BEFORE, evaluated_from, judges):
        _evaluate(settings, loaded, out / "before", asked, None)
        folder.finish(BEFORE)

    log.info("4 of 5  Applying the patch and evaluating again")
    patched = {"patch": patch.info.checksum}
    if not folder.done(MODEL, {"model": loaded.info.fingerprint, **patched}):
        checked = save_patched(loaded, patch, out / "model")
        log.info("Read back from disk: all %d patched weights are right", checked)
        folder.finish(MODEL)
    if not folder.done(AFTER, {**evaluated_from, **patched}, judges):
        _evaluate(settings, loaded, out / "after", asked, patch)
        folder.finish(AFTER)

    log.info("5 of 5  Writing the report")
    return write_report(out)


def _made_from(
    settings: RunSettings, loaded: LoadedModel, asked: Asked
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What scores, patch and evaluations depend on, as far as it is known from the beginning.

    A model is its weights and a suite is its content, wherever they were found.
    """
    model = {"model": loaded.info.fingerprint, "dtype": loaded.info.dtype}
    locating = {f"locate.{key}": value for key, value in asdict(settings.locate).items()}
    seed = {"score.seed": settings.score.seed}
    located = {
        "couple": list(settings.couple), "exclude": list(settings.exclude), **locating, **seed
    }  # fmt: skip
    evaluated = {
        **model,
        "evaluate.suite": f"{asked.suite.name} ({asked.suite.sha256()[:16]})",
        "evaluate.capability": asked.tasks,
        "evaluate.limit": settings.evaluate.limit,
        "evaluate.max_new_tokens": settings.evaluate.max_new_tokens,
        "prompt_format": _prompt_format(settings),
        **seed,
    }
    return model, located, evaluated


def _check_evaluation(chosen: EvaluateSettings) -> Asked:
    decoding_of(max_new_tokens=chosen.max_new_tokens)
    return check_evaluation(
        chosen.suite, chosen.judge, limit=chosen.limit, batch_size=chosen.batch_size
    )


def _locate(settings: RunSettings, scores: Scores) -> Patch:
    return locate(
        scores,
        list(settings.couple),
        list(settings.exclude),
        seed=settings.score.seed,
        **asdict(settings.locate),
    )


def _prompt_format(settings: RunSettings) -> PromptFormat:
    return "raw" if settings.score.prompt_format.startswith("raw") else "auto"


def _evaluate(
    settings: RunSettings, loaded: LoadedModel, out: Path, asked: Asked, patch: Patch | None
) -> None:
    chosen = settings.evaluate
    evaluate(
        loaded.model, loaded.tokenizer, asked.suite,
        judges=asked.judges, capability=asked.tasks, out=out, batch_size=chosen.batch_size,
        max_new_tokens=chosen.max_new_tokens, limit=chosen.limit,
        prompt_format=_prompt_format(settings),
        seed=settings.score.seed, patch=patch, info=loaded.info,
    )  # fmt: skip
