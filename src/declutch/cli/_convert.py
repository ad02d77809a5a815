"""From flags to the library's settings."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from declutch.cli.options import EvaluateFlags, LocateFlags, ModelFlags, ScoreFlags

if TYPE_CHECKING:
    from declutch.models.loading import ModelOptions
    from declutch.pipeline import EvaluateSettings, LocateSettings
    from declutch.scoring.score import ScoreSettings

T = TypeVar("T")


def _take(kind: type[T], flags: object) -> T:
    """A settings object of the flags that have the same names."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {name: getattr(flags, name) for name in names if hasattr(flags, name)}
    return kind(**values)


def model_options(flags: ModelFlags) -> ModelOptions:
    """How the model is loaded."""
    from declutch.models.loading import ModelOptions

    return _take(ModelOptions, flags)


def score_settings(flags: ScoreFlags) -> ScoreSettings:
    """What decides the shortlists."""
    from declutch.scoring.score import ScoreSettings

    return _take(ScoreSettings, flags)


def locate_settings(flags: LocateFlags) -> LocateSettings:
    """Which neurons are chosen."""
    from declutch.pipeline import LocateSettings

    return _take(LocateSettings, flags)


def evaluate_settings(flags: EvaluateFlags) -> EvaluateSettings:
    """How the model is judged; a flag that was not given leaves the default."""
    from declutch.pipeline import EvaluateSettings

    settings = _take(EvaluateSettings, flags)
    default = EvaluateSettings()
    return EvaluateSettings(
        suite=settings.suite or default.suite,
        judge=settings.judge or default.judge,
        batch_size=settings.batch_size,
        max_new_tokens=settings.max_new_tokens,
        limit=settings.limit,
    )


def memory_bytes(limit: str | None) -> int | None:
    """Bytes of ``--memory-limit``."""
    from declutch.scoring.memory import parse_size

    return parse_size(limit) if limit is not None else None
