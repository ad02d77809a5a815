"""Find the weights to protect: score and locate what is coupled, before the training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from declutch.data.dimension import DataLike
from declutch.errors import SettingsError
from declutch.locating import check_dimensions, locate
from declutch.models.loading import LoadedModel
from declutch.patching import Patch
from declutch.progress import log
from declutch.scoring.score import score
from declutch.settings import SampleSettings, ScoreSettings, TrainSettings

SCORES = "scores"
_KEPT = ScoreSettings().shortlist


def check_asked(
    ratio: float | None,
    patch: object,
    couple: Mapping[str, DataLike] | None,
    exclude: Mapping[str, DataLike] | None,
) -> None:
    """See that what is to be protected is said in one way.

    Raises:
        SettingsError: it is said in two, or in half a one.
    """
    if ratio is None:
        if couple or exclude:
            raise SettingsError(
                "--couple and --exclude say of what the weights to protect are scored, and "
                "--protect-ratio is missing. Give it, or leave them out."
            )
    elif patch is not None:
        raise SettingsError(
            "Give --protect with a patch, or --protect-ratio to find one; not both."
        )
    else:
        check_dimensions(list(couple or {}), list(exclude or {}))


def find_protected(
    loaded: LoadedModel,
    couple: Mapping[str, DataLike],
    exclude: Mapping[str, DataLike],
    settings: TrainSettings,
    out: Path,
) -> Patch:
    """The coupled neurons by the paper's rule; scores are kept in ``out``.

    Raises:
        SettingsError: nothing is coupled at the ratio.
        DeclutchError: see scoring and locating.
    """
    assert settings.protect_ratio is not None
    shared = {name: getattr(settings, name) for name in SampleSettings.__dataclass_fields__}
    scores = score(
        loaded.model, loaded.tokenizer, {**couple, **exclude},
        settings=ScoreSettings(**shared, shortlist=max(_KEPT, settings.protect_ratio)),
        out=out / SCORES, model_info=loaded.info,
    )  # fmt: skip
    patch = locate(
        scores, list(couple), list(exclude), ratio=settings.protect_ratio, seed=settings.seed
    )
    log.info("To be protected: %s", patch.summary().split("\n")[0])
    if not len(patch):
        raise SettingsError(
            f"Nothing to protect: {patch.info.notes[-1]}. Give a larger --protect-ratio; the "
            f"scores are kept in {out / SCORES}."
        )
    return patch
