"""declutch: find and suppress the neurons in which a model's concerns pull against each other.

Everything heavy (torch, transformers, matplotlib) is imported when something first needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from declutch.errors import DeclutchError

if TYPE_CHECKING:
    from declutch.checkpoint import write_checkpoint as write_checkpoint
    from declutch.comparing.comparison import Comparison as Comparison
    from declutch.comparing.results import Results as Results
    from declutch.data.example import Example as Example
    from declutch.data.loading import load_examples as load_examples
    from declutch.data.sources import Source as Source
    from declutch.evaluating.compare import compare as compare
    from declutch.evaluating.evaluate import evaluate as evaluate
    from declutch.evaluating.evaluate import evaluate_engine as evaluate_engine
    from declutch.judges.base import JUDGES as JUDGES
    from declutch.locating import RULES as RULES
    from declutch.locating import locate as locate
    from declutch.measures.base import MEASURES as MEASURES
    from declutch.measures.base import Measure as Measure
    from declutch.models.loading import LoadedModel as LoadedModel
    from declutch.models.loading import load_model as load_model
    from declutch.models.matrices import find_matrices as find_matrices
    from declutch.patching import Patch as Patch
    from declutch.pipeline import run as run
    from declutch.replies.decoding import Decoding as Decoding
    from declutch.reporting.report import write_report as write_report
    from declutch.scoring.method import METHODS as METHODS
    from declutch.scoring.score import score as score
    from declutch.scoring.shortlists import Scores as Scores
    from declutch.settings import EvaluateSettings as EvaluateSettings
    from declutch.settings import LocateSettings as LocateSettings
    from declutch.settings import ModelSettings as ModelSettings
    from declutch.settings import RunSettings as RunSettings
    from declutch.settings import ScoreSettings as ScoreSettings
    from declutch.suites.base import SUITES as SUITES
    from declutch.suites.base import Suite as Suite
    from declutch.suites.loading import load_suites as load_suites

__version__ = "0.1.0"

_HOMES = {
    "Comparison": "declutch.comparing.comparison",
    "Decoding": "declutch.replies.decoding",
    "EvaluateSettings": "declutch.settings",
    "Example": "declutch.data.example",
    "JUDGES": "declutch.judges.base",
    "LoadedModel": "declutch.models.loading",
    "LocateSettings": "declutch.settings",
    "MEASURES": "declutch.measures.base",
    "METHODS": "declutch.scoring.method",
    "Measure": "declutch.measures.base",
    "ModelSettings": "declutch.settings",
    "Patch": "declutch.patching",
    "RULES": "declutch.locating",
    "Results": "declutch.comparing.results",
    "RunSettings": "declutch.settings",
    "SUITES": "declutch.suites.base",
    "ScoreSettings": "declutch.settings",
    "Scores": "declutch.scoring.shortlists",
    "Source": "declutch.data.sources",
    "Suite": "declutch.suites.base",
    "compare": "declutch.evaluating.compare",
    "evaluate": "declutch.evaluating.evaluate",
    "evaluate_engine": "declutch.evaluating.evaluate",
    "find_matrices": "declutch.models.matrices",
    "load_examples": "declutch.data.loading",
    "load_model": "declutch.models.loading",
    "load_suites": "declutch.suites.loading",
    "locate": "declutch.locating",
    "run": "declutch.pipeline",
    "score": "declutch.scoring.score",
    "write_checkpoint": "declutch.checkpoint",
    "write_report": "declutch.reporting.report",
}

__all__ = ["DeclutchError", "__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'declutch' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
