"""declutch: find and suppress the neurons in which a model's concerns pull against each other.

Everything heavy (torch, transformers, matplotlib) is imported when something first needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from declutch.errors import DeclutchError

if TYPE_CHECKING:
    from declutch.comparing.compare import compare as compare
    from declutch.comparing.results import Results as Results
    from declutch.data.example import Example as Example
    from declutch.data.loading import load_examples as load_examples
    from declutch.data.sources import Source as Source
    from declutch.locating import locate as locate
    from declutch.measures.evaluate import evaluate as evaluate
    from declutch.models.loading import load_model as load_model
    from declutch.models.matrices import find_matrices as find_matrices
    from declutch.patching import Patch as Patch
    from declutch.pipeline import run as run
    from declutch.reporting.report import write_report as write_report
    from declutch.scoring.score import score as score
    from declutch.scoring.shortlists import Scores as Scores

__version__ = "0.1.0"

_HOMES = {
    "Example": "declutch.data.example",
    "Patch": "declutch.patching",
    "Results": "declutch.comparing.results",
    "Scores": "declutch.scoring.shortlists",
    "Source": "declutch.data.sources",
    "compare": "declutch.comparing.compare",
    "evaluate": "declutch.measures.evaluate",
    "find_matrices": "declutch.models.matrices",
    "load_examples": "declutch.data.loading",
    "load_model": "declutch.models.loading",
    "locate": "declutch.locating",
    "run": "declutch.pipeline",
    "score": "declutch.scoring.score",
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
