"""The whole of SPIN in one call: score, locate, evaluate, apply, evaluate again, report.

Each stage leaves its own folder in ``OUT``; a second run on the same ``OUT`` goes on where the
first stopped, or says which setting differs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from declutch.data.sources import Source
from declutch.errors import SettingsError
from declutch.evaluation.evaluate import evaluate
from declutch.files import read_json, write_json
from declutch.locating import Scope, check_options, locate, ratio_notes
from declutch.models.demo import DEMO, DEMO_ID
from declutch.models.loading import LoadedModel, ModelOptions, load_model
from declutch.models.matrices import find_matrices
from declutch.models.saving import check_on_disk, refuse_existing, save_checkpoint
from declutch.patching import Patch
from declutch.ranges import Count, Scale, Share, check_ranges
from declutch.reporting.report import ReportPaths, write_report
from declutch.scoring.score import ScoreSettings, score
from declutch.scoring.shortlists import differences

if TYPE_CHECKING:
    from torch import Tensor

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
    checked = save_patched(settings.model, settings.model_options, loaded, patch, out / "model")
    log.info("Read back from disk: all %d patched weights are right", checked)
    _evaluate(settings, loaded, out / "after", patch)

    log.info("5 of 5  Writing the report")
    return write_report(out)


def save_patched(
    reference: str, options: ModelOptions, loaded: LoadedModel, patch: Patch, folder: Path
) -> int:
    """Save a model with a patch in the checkpoint's own dtype; see that the files hold it.

    ``loaded`` is left as it was. A folder that is there already is checked, not written.

    Returns:
        The number of patched weights found right on disk.
    """
    written = loaded
    stored = checkpoint_dtype(reference, options)
    if stored not in (None, str(loaded.model.dtype).removeprefix("torch.")):
        # The original's weights, widened for scoring, are written in the width they came in.
        written = load_model(reference, replace(options, dtype="checkpoint"))
    if (folder / "config.json").exists():
        return check_on_disk(folder, written.model, _expected(patch, written, "patched"))
    return write_checkpoint(written, patch, folder, "patched", source=reference)


def write_checkpoint(
    loaded: LoadedModel,
    patch: Patch,
    folder: Path,
    state: Literal["original", "patched"],
    *,
    source: str | None = None,
) -> int:
    """Write a checkpoint with a patch applied, or reverted, and check it on disk.

    Args:
        loaded: the original model to write a patched one, the patched model to write the original.
            It is left as it was.
        source: where it was loaded from; licence files there go along.

    Raises:
        PatchMismatch: the patch does not fit the model.
        SettingsError: the folder exists.
    """
    refuse_existing(folder)
    change, undo = (
        (patch.apply, patch.revert) if state == "patched" else (patch.revert, patch.apply)
    )
    change(loaded.model)
    try:
        return save_checkpoint(
            folder,
            loaded.model,
            loaded.tokenizer,
            _expected(patch, loaded, state),
            Path(source) if source and Path(source).is_dir() else None,
        )
    finally:
        undo(loaded.model, check=False)


def _expected(patch: Patch, loaded: LoadedModel, state: str) -> dict[str, tuple[Tensor, Tensor]]:
    return {
        name: (indices, patch.values(name, state, loaded.model.dtype))
        for name, indices in patch.indices.items()
    }


def checkpoint_dtype(reference: str, options: ModelOptions) -> str | None:
    """The dtype that a checkpoint's configuration names."""
    from transformers import AutoConfig

    if reference.endswith(".gguf") or reference in (DEMO, DEMO_ID):
        return None
    config = AutoConfig.from_pretrained(
        reference, revision=options.revision, trust_remote_code=options.trust_remote_code
    )
    dtype = getattr(config.get_text_config(), "dtype", None) or getattr(config, "dtype", None)
    return str(dtype).removeprefix("torch.") if dtype else None


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
