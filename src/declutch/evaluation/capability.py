"""Capability: whether the model still does everything else, task by task, kept item by item."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declutch.errors import DataError
from declutch.evaluation.capability_store import CapabilityRow, CapabilityStore
from declutch.evaluation.capability_tasks import CapabilityTask, capability_tasks
from declutch.evaluation.harness import Harness
from declutch.evaluation.results import Better, Metric, mean, perplexity, proportion
from declutch.evaluation.rows import item_id, not_finite, number
from declutch.evaluation.windows import read_text, window_nll
from declutch.progress import log

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def evaluate_capability(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: str | Iterable[str],
    *,
    limit: int | None = None,
    out: Path | str | None = None,
    batch_size: int = 16,
    seed: int = 0,
    run: Mapping[str, Any] | None = None,
) -> list[Metric]:
    """Measure capability tasks; see :mod:`declutch.evaluation.capability_tasks` for the names.

    Args:
        limit: the first so many items of each task; None for each task's own.
        out: a folder for capability.jsonl. A task that is finished there is not run again.
        seed: of the harness (some tasks shuffle their choices) and of the bootstrap intervals.
        run: all that the outcomes depend on beside the task (JSON values); the model's
            fingerprint, found out, where it is not given.

    Raises:
        SettingsError: a task is unknown, or ``out`` holds the outcomes of another run.
        DataError: a task's data can't be loaded.
        MissingExtra: lm-evaluation-harness is not installed.
    """
    chosen = capability_tasks(tasks, limit)
    store = CapabilityStore(
        Path(out) if out is not None else None, _dependence(model, run, out, seed)
    )
    harness = Harness(model, tokenizer, batch_size, seed)
    for task in chosen:
        if store.has(task):
            log.info("Capability: %s is finished already.", task.name)
            continue
        start = time.monotonic()
        log.info("Capability: %s", task.name)
        if task.spec is None:
            rows, facts = _windows(model, tokenizer, task)
        else:
            rows, facts = harness.measure(task)
        if not rows:
            raise DataError(f"The capability task {task.name} has no items.")
        store.add(task, rows, {**facts, "seconds": round(time.monotonic() - start, 1)})
    return [
        capability_metric(
            task.name, store.rows(task.name), store.note(task.name), seed, store.better(task.name)
        )
        for task in chosen
    ]


def capability_metric(
    name: str,
    rows: Sequence[CapabilityRow],
    note: str = "",
    seed: int = 0,
    better: Better = "higher",
) -> Metric:
    """The metric ``capability/NAME`` of one task's rows.

    Args:
        better: which way a number that is no perplexity gets better.
    """
    full = f"capability/{name}"
    if rows[0].nll is not None:
        nll = [number(row.nll) for row in rows]
        note += not_finite([row.id for row in rows], nll)
        tokens = [row.tokens or 0 for row in rows]
        return perplexity(full, nll, tokens, group="capability", seed=seed, note=note)
    if rows[0].correct is not None:
        right = sum(bool(row.correct) for row in rows)
        return proportion(full, right, len(rows), group="capability", better=better, note=note)
    values = [number(row.value) for row in rows]
    note += not_finite([row.id for row in rows], values)
    return mean(full, values, group="capability", seed=seed, better=better, note=note)


def _dependence(
    model: Any, run: Mapping[str, Any] | None, out: Path | str | None, seed: int
) -> dict[str, Any]:
    if run is None and out is not None:
        from declutch.models.identity import describe

        found = describe(model)
        run = {"fingerprint": found.fingerprint, "dtype": found.dtype}
    return {**(run or {}), "seed": seed}


def _windows(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: CapabilityTask
) -> tuple[list[CapabilityRow], dict[str, Any]]:
    found = window_nll(model, tokenizer, read_text(task.text), limit=task.limit)
    rows = [
        CapabilityRow(task.name, item_id(str(place), *each.ids), nll=each.nll, tokens=each.tokens)
        for place, each in enumerate(found)
    ]
    note = f"token perplexity over {len(rows)} windows of {rows[0].tokens} predicted tokens"
    return rows, {"note": f"{note}; {task.source}"}
