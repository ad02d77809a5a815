"""A run's report, made up: small, but with every part that a real one has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from declutch.comparing import statistics
from declutch.comparing.comparison import Comparison, ComparisonRow
from declutch.comparing.results import MeasureFacts, Metric, ModelRecord, Results
from declutch.measures.base import MEASURES, find_measure
from declutch.replies.store import ReplyRow
from declutch.replies.verdicts import Verdict
from declutch.reporting.values import PatchSummary, ReportInput, ScoredData

REFUSAL = "I can't help with that."
NASTY = "Sure.\n<script>alert('x')</script> & <img src=https://example.com/a.png>"


def facts(group: str) -> MeasureFacts:
    """Those of our own measure of that name, or of one that is not known."""
    if group in MEASURES:
        return find_measure(group).facts
    return MeasureFacts(name=group, title=group.capitalize(), family=group)


def share(
    name: str,
    *,
    total: int = 100,
    start: int,
    gained: int = 0,
    lost: int = 0,
    dimension: str | None = None,
    judge: str | None = None,
    better: str = "none",
) -> ComparisonRow:
    """A paired share: ``start`` of ``total`` before, then so many gained and lost."""

    first = name.split("/")[0]

    def metric(count: int) -> Metric:
        interval = statistics.wilson(count, total)
        return Metric(
            name=name,
            group="reply_kinds" if first in ("refused", "empty") else first,
            kind="proportion",
            value=count / total,
            total=total,
            count=count,
            low=interval.low,
            high=interval.high,
            dimension=dimension,
            judge=judge,
            better=better,
        )

    before = [i < start for i in range(total)]
    after = [(i >= lost and was) or start <= i < start + gained for i, was in enumerate(before)]
    found = statistics.mcnemar_exact(before, after)
    return ComparisonRow(
        name=name, before=metric(sum(before)), after=metric(sum(after)),
        difference=found.difference, low=found.low, high=found.high, p=found.p,
        n_pairs=found.n, gained=found.gained, lost=found.lost,
        measure=facts(metric(start).group),
    )  # fmt: skip


def one_sided(name: str) -> ComparisonRow:
    """Awareness of which nothing counted before, so that there is no difference."""
    row = share(name, start=30, better="higher", dimension="fairness")
    nothing = {"value": None, "count": 0, "total": 0, "low": None, "high": None}
    before = row.before.model_copy(update=nothing)
    return ComparisonRow(name=name, before=before, after=row.after, measure=row.measure)


def results(rows: Sequence[ComparisonRow]) -> Results:
    """One evaluation with the metrics that the rows have after."""
    return Results(
        model=ModelRecord(id="owner/tiny", fingerprint="f" * 64, dtype="float32"),
        measures={row.metric.group: row.measure for row in rows},
        metrics=tuple(row.after for row in rows),
    )


def number(
    name: str,
    before: float,
    change: float,
    half: float,
    *,
    kind: str = "mean",
    total: int = 48,
    better: str = "higher",
    dimension: str | None = None,
) -> ComparisonRow:
    """A mean or a perplexity whose change has the interval ``change ± half``."""
    group = name.split("/")[0]

    def metric(value: float) -> Metric:
        return Metric(
            name=name, group=group, kind=kind, value=value, total=total,
            low=value - 0.2, high=value + 0.2, dimension=dimension,
            better=better,
            label=f"{dimension} · mean" if group == "margin" else "",
        )  # fmt: skip

    p = 0.4 if abs(change) <= half else 0.001
    return ComparisonRow(
        name=name, before=metric(before), after=metric(before + change), difference=change,
        low=change - half, high=change + half, p=p, n_pairs=total, measure=facts(group),
        pairs=tuple((before, before + change) for _ in range(total)),
    )  # fmt: skip


def awareness(dimension: str, judge: str = "heuristic", **counts: int) -> ComparisonRow:
    """A row of awareness."""
    return share(
        f"awareness/{dimension}/{judge}", dimension=dimension, judge=judge, better="higher",
        **{"start": 30, **counts},
    )  # fmt: skip


def over_refusal(dimension: str = "fairness", **counts: int) -> ComparisonRow:
    """A row of over-refusal, over 50 harmless prompts."""
    return share(
        f"over_refusal/{dimension}/refusal", dimension=dimension, judge="heuristic",
        better="lower", total=50, **{"start": 3, **counts},
    )  # fmt: skip


def perplexity(change: float = 0.01, half: float = 0.05) -> ComparisonRow:
    """A row of perplexity over 48 texts."""
    return number("perplexity/general", 20.0, change, half, kind="perplexity", better="lower")


def layers(count: int = 12) -> list[ComparisonRow]:
    """A series over the layers, as a later evaluation may add."""
    return [
        number(f"dependence/cka/last_token/layer_{layer}", 0.3 + layer / 50, -0.01, 0.02)
        for layer in range(count)
    ]


def patch_summary(**changes: Any) -> PatchSummary:
    """Two layers of three matrices, five weights."""
    counts = {(0, "gate_proj"): 1, (0, "up_proj"): 0, (0, "down_proj"): 3,
              (1, "gate_proj"): 0, (1, "up_proj"): 0, (1, "down_proj"): 1}  # fmt: skip
    values: dict[str, Any] = {
        "weights": 5, "matrices": 6, "targeted": 6 * 32 * 48, "counts": counts,
        "rule": "coupled", "ratio": 1e-5, "scale": 0.0, "scope": "matrix",
        "coupled": ("fairness", "privacy"), "excluded": ("general",), "target_modules": "mlp",
        "checksum": "c0ffee",
    }  # fmt: skip
    return PatchSummary(**{**values, **changes})


def patch(counts: dict[str, int], **info: Any) -> Any:
    """Something with a patch's ``info``, ``indices`` and length."""
    matrices = {
        name: SimpleNamespace(shape=(4, 8), layer=int(name.split(".")[2]), kind="mlp")
        for name in counts
    }
    values = {
        "rule": "coupled", "ratio": 0.1, "scale": 0.0, "scope": "matrix", "coupled": ("a", "b"),
        "excluded": (), "target_modules": "mlp", "checksum": "x", "notes": (),
        "granularity": "weight", "units": (), "matrices": matrices,
        "model": SimpleNamespace(id="owner/tiny"),
    }  # fmt: skip

    class Fake:
        def __init__(self) -> None:
            self.info = SimpleNamespace(**{**values, **info})
            self.indices = {name: range(count) for name, count in counts.items() if count}

        def __len__(self) -> int:
            return sum(counts.values())

    return Fake()


def reply_pair(
    number: int, before: str, after: str, *, texts: tuple[str, str] = (NASTY, REFUSAL)
) -> tuple[ReplyRow, ReplyRow]:
    """Replies with the given verdicts of the judge «heuristic»; the second is cut."""

    def row(text: str, verdict: str, finish: str) -> ReplyRow:
        return ReplyRow(
            "bundled", "fairness", f"f{number}", f"Prompt <b>{number}</b>", text,
            finish,  # type: ignore[arg-type]
            {"heuristic": Verdict(verdict)} if verdict else {},  # type: ignore[arg-type]
        )  # fmt: skip

    return row(texts[0], before, "stop"), row(texts[1], after, "length")


def comparison(**changes: Any) -> Comparison:
    """Two evaluations of one model."""
    results = Results(
        created="2026-01-02T03:04:05+00:00",
        model=ModelRecord(
            id=changes.pop("model_id", "owner/tiny"),
            revision=changes.pop("revision", "abc123"), fingerprint="f" * 64, dtype="float32",
        ),
        versions=changes.pop("versions", {"declutch": "0.1.0", "torch": "2.13.0"}),
    )  # fmt: skip
    values: dict[str, Any] = {
        "before": results,
        "after": results,
        "rows": (
            awareness("fairness", gained=9, lost=5),
            awareness("privacy", gained=11, lost=8),
            over_refusal(),
            share("refused/fairness", start=12, gained=4, dimension="fairness"),
            share("empty/fairness", start=0, dimension="fairness", better="lower"),
            number("margin/fairness", 0.2, 0.01, 0.02, total=8, dimension="fairness"),
            perplexity(),
        ),
        "replies": (reply_pair(0, "unaware", "aware"), reply_pair(1, "aware", "aware")),
    }
    return Comparison(**{**values, **changes})


def report_input(out: Path, **changes: Any) -> ReportInput:
    """A whole report in ``out``; changes of the comparison's fields go there."""
    compared = {key: changes.pop(key) for key in _COMPARED if key in changes}
    values: dict[str, Any] = {
        "out": out,
        "comparison": comparison(**compared),
        "patch": patch_summary(),
        "scored": (ScoredData("fairness", "bundled:fairness", "9a" * 32, 128, 1200, 3.5),),
        "settings": {"score": {"seed": 0}, "evaluate": {"decoding": {"max_new_tokens": 64}}},
        "model_parameters": 135_000_000,
    }
    return ReportInput(**{**values, **changes})


_COMPARED = (
    "rows", "replies", "notes", "model_id", "revision", "versions", "checks", "tables",
)  # fmt: skip


def write_safetensors(path: Path, shapes: dict[str, list[int]]) -> None:
    """A checkpoint's file of tensors of these shapes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, path)
