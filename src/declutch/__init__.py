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
    from declutch.comparing.comparison import ComparisonRow as ComparisonRow
    from declutch.comparing.comparison import MeasureTable as MeasureTable
    from declutch.comparing.results import CheckRecord as CheckRecord
    from declutch.comparing.results import MeasureFacts as MeasureFacts
    from declutch.comparing.results import Metric as Metric
    from declutch.comparing.results import ModelRecord as ModelRecord
    from declutch.comparing.results import PatchRecord as PatchRecord
    from declutch.comparing.results import Results as Results
    from declutch.comparing.results import SetFacts as SetFacts
    from declutch.comparing.series import Series as Series
    from declutch.data.example import Example as Example
    from declutch.data.loading import LoadedData as LoadedData
    from declutch.data.loading import load_examples as load_examples
    from declutch.data.sources import Source as Source
    from declutch.evaluating.compare import compare as compare
    from declutch.evaluating.evaluate import evaluate as evaluate
    from declutch.evaluating.evaluate import evaluate_engine as evaluate_engine
    from declutch.judges.base import JUDGES as JUDGES
    from declutch.judges.base import Judge as Judge
    from declutch.judges.base import JudgeItem as JudgeItem
    from declutch.locating import RULES as RULES
    from declutch.locating import locate as locate
    from declutch.locating.request import Request as Request
    from declutch.measures.base import MEASURES as MEASURES
    from declutch.measures.base import Evidence as Evidence
    from declutch.measures.base import Measure as Measure
    from declutch.measures.base import Part as Part
    from declutch.measures.base import Subject as Subject
    from declutch.models.identity import ModelInfo as ModelInfo
    from declutch.models.loading import LoadedModel as LoadedModel
    from declutch.models.loading import load_model as load_model
    from declutch.models.matrices import Coverage as Coverage
    from declutch.models.matrices import find_matrices as find_matrices
    from declutch.patching import Patch as Patch
    from declutch.patching import PatchInfo as PatchInfo
    from declutch.pipeline import run as run
    from declutch.replies.decoding import Decoding as Decoding
    from declutch.replies.engine import Reply as Reply
    from declutch.replies.engine import ReplyEngine as ReplyEngine
    from declutch.replies.verdicts import Verdict as Verdict
    from declutch.reporting.export import EXPORTS as EXPORTS
    from declutch.reporting.export import export as export
    from declutch.reporting.report import ReportPaths as ReportPaths
    from declutch.reporting.report import write_report as write_report
    from declutch.scoring.method import METHODS as METHODS
    from declutch.scoring.method import Method as Method
    from declutch.scoring.score import score as score
    from declutch.scoring.shortlists import DimensionInfo as DimensionInfo
    from declutch.scoring.shortlists import Scores as Scores
    from declutch.scoring.shortlists import ScoresInfo as ScoresInfo
    from declutch.scoring.shortlists import Shortlist as Shortlist
    from declutch.settings import CheckSettings as CheckSettings
    from declutch.settings import EvaluateSettings as EvaluateSettings
    from declutch.settings import JudgingSettings as JudgingSettings
    from declutch.settings import LocateSettings as LocateSettings
    from declutch.settings import ModelSettings as ModelSettings
    from declutch.settings import RunSettings as RunSettings
    from declutch.settings import ScoreSettings as ScoreSettings
    from declutch.suites.base import SUITES as SUITES
    from declutch.suites.base import Passage as Passage
    from declutch.suites.base import PromptItem as PromptItem
    from declutch.suites.base import PromptSet as PromptSet
    from declutch.suites.base import Suite as Suite
    from declutch.suites.loading import load_suites as load_suites

__version__ = "0.1.0"

_HOMES = {
    "CheckRecord": "declutch.comparing.results",
    "CheckSettings": "declutch.settings",
    "Comparison": "declutch.comparing.comparison",
    "ComparisonRow": "declutch.comparing.comparison",
    "Coverage": "declutch.models.matrices",
    "Decoding": "declutch.replies.decoding",
    "DimensionInfo": "declutch.scoring.shortlists",
    "EXPORTS": "declutch.reporting.export",
    "EvaluateSettings": "declutch.settings",
    "Evidence": "declutch.measures.base",
    "Example": "declutch.data.example",
    "JUDGES": "declutch.judges.base",
    "Judge": "declutch.judges.base",
    "JudgeItem": "declutch.judges.base",
    "JudgingSettings": "declutch.settings",
    "LoadedData": "declutch.data.loading",
    "LoadedModel": "declutch.models.loading",
    "LocateSettings": "declutch.settings",
    "MEASURES": "declutch.measures.base",
    "METHODS": "declutch.scoring.method",
    "Measure": "declutch.measures.base",
    "MeasureFacts": "declutch.comparing.results",
    "MeasureTable": "declutch.comparing.comparison",
    "Method": "declutch.scoring.method",
    "Metric": "declutch.comparing.results",
    "ModelInfo": "declutch.models.identity",
    "ModelRecord": "declutch.comparing.results",
    "ModelSettings": "declutch.settings",
    "Part": "declutch.measures.base",
    "Passage": "declutch.suites.base",
    "Patch": "declutch.patching",
    "PatchInfo": "declutch.patching",
    "PatchRecord": "declutch.comparing.results",
    "PromptItem": "declutch.suites.base",
    "PromptSet": "declutch.suites.base",
    "RULES": "declutch.locating",
    "Reply": "declutch.replies.engine",
    "ReplyEngine": "declutch.replies.engine",
    "ReportPaths": "declutch.reporting.report",
    "Request": "declutch.locating.request",
    "Results": "declutch.comparing.results",
    "RunSettings": "declutch.settings",
    "SUITES": "declutch.suites.base",
    "ScoreSettings": "declutch.settings",
    "Scores": "declutch.scoring.shortlists",
    "ScoresInfo": "declutch.scoring.shortlists",
    "Series": "declutch.comparing.series",
    "SetFacts": "declutch.comparing.results",
    "Shortlist": "declutch.scoring.shortlists",
    "Source": "declutch.data.sources",
    "Subject": "declutch.measures.base",
    "Suite": "declutch.suites.base",
    "Verdict": "declutch.replies.verdicts",
    "compare": "declutch.evaluating.compare",
    "evaluate": "declutch.evaluating.evaluate",
    "evaluate_engine": "declutch.evaluating.evaluate",
    "export": "declutch.reporting.export",
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
