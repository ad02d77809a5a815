"""lm-evaluation-harness (0.4.13), in memory: a task's items, each with its outcome."""

from __future__ import annotations

import difflib
import logging
import random
from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import cache
from typing import Any

from declutch.errors import DataError, SettingsError
from declutch.evaluation.capability_store import CapabilityRow
from declutch.evaluation.capability_tasks import CapabilityTask
from declutch.extras import require

# The first of these that a task has is what counts; else the first that it has at all.
_METRICS = ("acc", "exact_match", "acc_norm", "word_perplexity")


def check_task(task: CapabilityTask) -> Any:
    """See that the harness knows a task; give its task manager.

    Raises:
        SettingsError: it knows no task of that name.
        MissingExtra: the harness, or what it loads data with, is not installed.
    """
    why = f"the capability task {task.name}"
    require("datasets", extra="capability", why=why)
    require("lm_eval", extra="capability", why=why)
    # The harness announces each of its steps as a warning.
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    # Its own tasks are thousands of files, read through only where a name needs them.
    by_name = isinstance(task.spec, str) and not task.spec.endswith((".yaml", ".yml"))
    manager = _task_manager(by_name)
    if by_name and task.spec not in manager.all_tasks:
        like = difflib.get_close_matches(str(task.spec), manager.all_tasks, 4)
        raise SettingsError(
            f"There is no capability task «{task.spec}»."
            + (f" Near to it are: {', '.join(like)}." if like else "")
            + " `lm-eval ls tasks` lists those of the harness."
        )
    return manager


@cache
def _task_manager(include_defaults: bool) -> Any:
    """Some ten seconds where the harness's own tasks are included."""
    tasks = require("lm_eval.tasks", extra="capability", why="measuring capability")
    return tasks.TaskManager(include_defaults=include_defaults)


class Harness:
    """lm-evaluation-harness on a model in memory; nothing is imported before the first task."""

    def __init__(self, model: Any, tokenizer: Any, batch_size: int, seed: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._batch_size = batch_size
        self._seed = seed
        self._lm: Any = None

    def measure(self, task: CapabilityTask) -> tuple[list[CapabilityRow], dict[str, Any]]:
        """Run one task or group."""
        manager = check_task(task)
        loaded = self._load(task, manager)
        why = f"the capability task {task.name}"
        lm_eval = require("lm_eval", extra="capability", why=why)
        if self._lm is None:
            huggingface = require("lm_eval.models.huggingface", extra="capability", why=why)
            # Copied, since the harness gives it a padding token.
            self._lm = huggingface.HFLM(
                pretrained=self._model,
                tokenizer=deepcopy(self._tokenizer),
                batch_size=self._batch_size,
            )
        found = lm_eval.simple_evaluate(
            model=self._lm,
            tasks=loaded,
            task_manager=manager,  # else it would look through all of its tasks once more
            limit=task.limit,
            batch_size=self._batch_size,
            log_samples=True,
            bootstrap_iters=0,  # intervals are made in one place, and it is not there
            random_seed=self._seed,
            numpy_random_seed=self._seed,
            torch_random_seed=self._seed,
            fewshot_random_seed=self._seed,
        )
        several = len(found["samples"]) > 1
        rows: list[CapabilityRow] = []
        metric = ""
        for part, samples in found["samples"].items():
            metric, of_part = sample_rows(task.name, samples, f"{part}/" if several else "")
            rows += of_part
        shots = sorted({str(count) for count in found["n-shot"].values()})
        first = f"first {task.limit} items" if task.limit else "all items"
        if several:
            first += f" of each of {len(found['samples'])} parts"
        version = f"lm-evaluation-harness {lm_eval.__version__}"
        return rows, {
            "note": f"{metric}, {'/'.join(shots)}-shot, {first}; {task.source}; {version}",
            "versions": {name: str(version) for name, version in found["versions"].items()},
        }

    def _load(self, task: CapabilityTask, manager: Any) -> list[Any]:
        """The task objects of the harness, with their data."""
        random.seed(self._seed)  # a task may shuffle its choices while it loads
        try:
            return list(manager.load([task.spec])["tasks"].values())
        except Exception as error:  # each data library raises its own kinds
            raise DataError(
                f"The data of the capability task {task.name} can't be loaded ({error!r}). Its "
                f"source is {task.source}; check the network, and for gated data sets "
                "(GPQA) your access: accept its terms on the hub and log in."
            ) from error


def sample_rows(
    task: str, samples: Iterable[Mapping[str, Any]], prefix: str = ""
) -> tuple[str, list[CapabilityRow]]:
    """Which metric counts, and each item's outcome by it, from the harness's logged samples.

    Where a task filters its answers in several ways, the first filter counts.
    """
    ordered = sorted(samples, key=lambda sample: int(sample["doc_id"]))
    if not ordered:
        return "", []
    first = ordered[0]["filter"]
    metrics = ordered[0]["metrics"]
    metric = next((name for name in _METRICS if name in metrics), metrics[0])
    own = [sample for sample in ordered if sample["filter"] == first]
    ids = [f"{prefix}{sample['doc_id']}-{str(sample['doc_hash'])[:8]}" for sample in own]
    values = [sample[metric] for sample in own]
    if all(isinstance(value, tuple | list) for value in values):
        return metric, [
            CapabilityRow(task, key, nll=-float(value[0]), tokens=int(value[1]))
            for key, value in zip(ids, values, strict=True)
        ]
    numbers = [float(value) for value in values]
    if set(numbers) <= {0.0, 1.0}:
        return metric, [
            CapabilityRow(task, key, correct=bool(n)) for key, n in zip(ids, numbers, strict=True)
        ]
    return metric, [CapabilityRow(task, key, value=n) for key, n in zip(ids, numbers, strict=True)]
