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
from declutch.data.sources import Source
from declutch.errors import SettingsError
from declutch.evaluation.evaluate import evaluate
from declutch.files import read_json, write_json
from declutch.locating import Scope, check_options, locate, ratio_notes
from declutch.models.loading import LoadedModel, ModelOptions, load_model
from declutch.models.matrices import find_matrices
from declutch.patching import Patch
from declutch.reporting.report import ReportPaths, write_report
from declutch.scoring.score import ScoreSettings, score
from declutch.scoring.shortlists import differences

if TYPE_CHECKING:
    from declutch.scoring.shortlists import Scores

log = logging.getLogger("declutch")


@dataclass(frozen=True)
class LocateSettings:
    """Which neurons are chosen, and what becomes of them; the defaults are the paper's."""

    ratio: float = 5e-7
    rule: str = "coupled"
    scope: Scope = "matrix"
    scale: float = 0.0


@dataclass(frozen=True)
class EvaluateSettings:
    """How the model is judged before and after."""

    suite: tuple[str, ...] = ("bundled",)
    judge: tuple[str, ...] = ("heuristic",)
    batch_size: int = 32
    max_new_tokens: int = 64
    limit: int | None = None


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
        SettingsError: ``out`` holds a run with other settings, or an option is wrong.
        DeclutchError: see the stages.
    """
    out = Path(out)
    chosen = settings.locate
    check_options(
        list(settings.couple), list(settings.exclude),
        ratio=chosen.ratio, rule=chosen.rule, scope=chosen.scope,
    )  # fmt: skip
    _begin(settings, out)
    loaded = load_model(settings.model, settings.model_options)
    check_writable(loaded)
    # A ratio that selects nothing is known before the long work, not after it.
    coverage = find_matrices(loaded.model, settings.score.target_modules)
    ratio_notes(coverage.info(), chosen.ratio, chosen.scope)

    sources = {**settings.couple, **settings.exclude}
    log.info("1 of 5  Scoring %s", ", ".join(sources))
    data = {name: Source.parse(path) for name, path in sources.items()}
    scores = score(
        loaded.model, loaded.tokenizer, data,
        settings=settings.score, memory_limit=memory_limit,
        checkpoint_interval=checkpoint_interval,
        out=out / "scores", model_info=loaded.info,
    )  # fmt: skip

    log.info("2 of 5  Locating coupled neurons")
    patch = _locate(settings, scores)
    if not (out / "patch" / "patch.json").exists():
        patch.save(out / "patch")
    log.info("%s", patch.summary().split("\n")[0])
    for note in patch.info.notes:
        log.warning("Note: %s", note)
    if not len(patch):
        raise SettingsError(
            f"Nothing to suppress: {patch.info.notes[-1]}. The scores are kept in "
            f"{out / 'scores'}: try larger ratios with «declutch locate», then run with one of "
            "them and another -o."
        )

    log.info("3 of 5  Evaluating the model as it is")
    _evaluate(settings, loaded, out / "before", None)

    log.info("4 of 5  Applying the patch and evaluating again")
    checked = save_patched(loaded, patch, out / "model")
    log.info("Read back from disk: all %d patched weights are right", checked)
    _evaluate(settings, loaded, out / "after", patch)

    log.info("5 of 5  Writing the report")
    return write_report(out)


def _locate(settings: RunSettings, scores: Scores) -> Patch:
    return locate(
        scores,
        list(settings.couple),
        list(settings.exclude),
        seed=settings.score.seed,
        **asdict(settings.locate),
    )


def _evaluate(settings: RunSettings, loaded: LoadedModel, out: Path, patch: Patch | None) -> None:
    chosen = settings.evaluate
    evaluate(
        loaded.model, loaded.tokenizer, chosen.suite,
        judges=chosen.judge, out=out, batch_size=chosen.batch_size,
        max_new_tokens=chosen.max_new_tokens, limit=chosen.limit,
        prompt_format="raw" if settings.score.prompt_format.startswith("raw") else "auto",
        seed=settings.score.seed, patch=patch, info=loaded.info,
    )  # fmt: skip


def _begin(settings: RunSettings, out: Path) -> None:
    """Write the settings, or compare them with those of the run that is there."""
    path = out / "run.json"
    now: dict[str, Any] = {"format_version": 1, **asdict(settings)}
    if not path.exists():
        if out.exists() and any(out.iterdir()):
            raise SettingsError(
                f"{out} exists, is not empty and holds no run. Give another -o, or remove it."
            )
        write_json(path, now)
        return
    if changed := list(differences(_flat(read_json(path)), _flat(now))):
        raise SettingsError(
            f"{out} holds a run with other settings: {'; '.join(changed)}. Give another -o, or "
            "the same settings to go on with it."
        )
    log.info("Going on with the run in %s", out)


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        if isinstance(entry, dict):
            flat.update(_flat(entry, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = entry
    return flat
