"""lm-evaluation-harness (0.4.13), in memory: a task's items, each with its outcome."""

from __future__ import annotations

import difflib
import logging
import random
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

from declutch.errors import DataError, SettingsError
from declutch.extras import require
from declutch.measures.capability.harness_metrics import Scoring, sample_rows, scoring
from declutch.measures.capability.tasks import CapabilityItem, CapabilityTask


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

    def measure(self, task: CapabilityTask) -> tuple[list[CapabilityItem], dict[str, Any]]:
        """Run one task or group."""
        manager = check_task(task)
        loaded = self._load(task, manager)
        scorings = {name: scoring(name, each) for name, each in loaded.items()}
        _check_alike(task.name, scorings)
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
            tasks=list(loaded.values()),
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
        rows: list[CapabilityItem] = []
        for part, samples in found["samples"].items():
            prefix = f"{part}/" if several else ""
            rows += sample_rows(task.name, samples, scorings[part], prefix)
        shots = sorted({str(count) for count in found["n-shot"].values()})
        first = f"first {task.limit} items" if task.limit else "all items"
        if several:
            first += f" of each of {len(found['samples'])} parts"
        said = ", ".join(dict.fromkeys(each.said for each in scorings.values()))
        version = f"lm-evaluation-harness {lm_eval.__version__}"
        return rows, {
            "note": f"{said}, {'/'.join(shots)}-shot, {first}; {task.source}; {version}",
            "metric": said,
            "n_shot": max(found["n-shot"].values()),
            "better": next(iter(scorings.values())).better,
            "versions": {name: str(version) for name, version in found["versions"].items()},
        }

    def _load(self, task: CapabilityTask, manager: Any) -> dict[str, Any]:
        """The task objects of the harness by name, with their data."""
        random.seed(self._seed)  # a task may shuffle its choices while it loads
        try:
            return dict(manager.load([task.spec])["tasks"])
        except Exception as error:  # each data library raises its own kinds
            raise DataError(
                f"The data of the capability task {task.name} can't be loaded ({error!r}). Its "
                f"source is {task.source}; check the network, and for gated data sets "
                "(GPQA) your access: accept its terms on the hub and log in."
            ) from error


def _check_alike(name: str, scorings: Mapping[str, Scoring]) -> None:
    """Refuse a group whose parts are scored in different ways: they make no one number."""
    ways = {(each.reading, each.better) for each in scorings.values()}
    if len(ways) > 1:
        said = ", ".join(f"{part} by {each.said}" for part, each in scorings.items())
        raise SettingsError(
            f"The parts of the capability task {name} are scored in different ways ({said}), so "
            "they make no one number. Give them one by one."
        )
