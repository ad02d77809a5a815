"""What lm-evaluation-harness 0.4.13 writes: one file of results, and one of samples a prompt set.

A prompt set is a task, whose metrics have the names that they have here; a capability task has the
harness's own names. The standard error is the harness's, of a mean, and «N/A» for other numbers.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from declutch.comparing.results import Metric
from declutch.comparing.series import Series
from declutch.evaluating.compare import Side
from declutch.replies.store import ReplyRow
from declutch.reporting.export import (
    EXPORTS,
    Files,
    ScoredSet,
    all_series,
    model_name,
    scored_sets,
)

_UP = {"higher": True, "lower": False}


@dataclass(frozen=True)
class _Task:
    """One task.

    Attributes:
        metrics: by the names that the task has for them.
        facts: what was kept of a task of the harness.
        replied: the prompt set that it is.
    """

    size: int
    metrics: dict[str, Metric] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    replied: ScoredSet | None = None


@EXPORTS.register("lm-eval")
def lm_eval(side: Side) -> Files:
    """``MODEL/results_DATE.json`` and ``MODEL/samples_TASK_DATE.jsonl``, as the harness has it."""
    series, tasks = all_series(side), _tasks(side)
    samples = {
        name: [_sample(number, row, task.replied) for number, row in enumerate(task.replied.rows)]
        for name, task in tasks.items()
        if task.replied
    }
    value = {**_of_tasks(side, tasks, series), **_of_model(side)}
    value["task_hashes"] = {
        name: _hash(
            "".join(each["doc_hash"] + each["prompt_hash"] + each["target_hash"] for each in rows)
        )
        for name, rows in samples.items()
    }
    # As in the harness's names: local to the clock that wrote it, and without a colon.
    date = f"{datetime.fromisoformat(side.results.created):%Y-%m-%dT%H-%M-%S.%f}"
    folder = value["model_name_sanitized"]
    return {
        f"{folder}/results_{date}.json": value,
        **{f"{folder}/samples_{name}_{date}.jsonl": rows for name, rows in samples.items()},
    }


def _tasks(side: Side) -> dict[str, _Task]:
    found: dict[str, _Task] = {}
    task_of: dict[str, str] = {}
    for each in scored_sets(side):
        name = _safe("declutch", each.facts.suite, each.facts.set)
        found[name] = _Task(len(each.rows), replied=each)
        task_of |= {series.name: name for series in each.series}
    known = side.evidence.facts.get("capability", {})
    for metric in side.results.metrics:
        if metric.group == "capability":
            name = metric.name.removeprefix("capability/")
            facts = known.get(name, {})
            called = facts.get("metric") or metric.kind
            found[name] = _Task(metric.total, {called: metric}, facts)
            continue
        name = task_of.get(metric.name) or _safe("declutch", metric.group, metric.dimension)
        found.setdefault(name, _Task(metric.total)).metrics[metric.name] = metric
    return found


def _of_tasks(
    side: Side, tasks: Mapping[str, _Task], series: Mapping[str, Series]
) -> dict[str, Any]:
    settings = side.results.settings
    version = str(settings.get("suite_sha256", ""))[:12]
    limited = settings.get("limit") is not None
    ups = {
        name: {_key(metric): _UP.get(each.better) for metric, each in task.metrics.items()}
        for name, task in tasks.items()
    }
    return {
        "results": {name: _numbers(name, task, series) for name, task in tasks.items()},
        "group_subtasks": {name: [] for name in tasks},
        "configs": {name: _config(name, task, settings) for name, task in tasks.items()},
        "versions": {
            name: ", ".join(task.facts.get("versions", {}).values()) or version
            for name, task in tasks.items()
        },
        "n-shot": {name: task.facts.get("n_shot", 0) for name, task in tasks.items()},
        "higher_is_better": ups,
        # How many there would be without a limit is not known here.
        "n-samples": {
            name: {"original": None if limited else task.size, "effective": task.size}
            for name, task in tasks.items()
        },
    }


def _numbers(name: str, task: _Task, series: Mapping[str, Series]) -> dict[str, Any]:
    numbers: dict[str, Any] = {"name": name, "alias": name, "sample_len": task.size}
    for called, metric in task.metrics.items():
        numbers[f"{_key(called)},none"] = "N/A" if metric.value is None else metric.value
        numbers[f"{_key(called)}_stderr,none"] = _stderr(metric, series.get(metric.name))
    return numbers


def _stderr(metric: Metric, series: Series | None) -> float | str:
    """Of a mean: the items' standard deviation over the root of their number."""
    values = [each for each in series.values.values() if each is not None] if series else []
    if len(values) < 2 or metric.value is None or metric.kind == "perplexity":
        return "N/A"
    if not all(isinstance(each, bool | int | float) for each in values):
        return "N/A"
    return statistics.stdev(map(float, values)) / math.sqrt(len(values))


def _config(name: str, task: _Task, settings: Mapping[str, Any]) -> dict[str, Any]:
    notes = {_key(called): metric.note for called, metric in task.metrics.items()}
    config: dict[str, Any] = {"task": name, "num_fewshot": task.facts.get("n_shot", 0)}
    if task.replied:
        facts = task.replied.facts
        config |= {
            "dataset_path": facts.suite,
            "dataset_name": facts.set,
            "output_type": "generate_until",
            "generation_kwargs": settings.get("decoding", {}),
        }
    return {**config, "metadata": {"notes": notes}}


def _of_model(side: Side) -> dict[str, Any]:
    results, settings = side.results, side.results.settings
    name, seed = model_name(results), settings.get("seed")
    patch = {"patch": results.patch.checksum} if results.patch else {}
    return {
        "config": {
            "model": "declutch",
            "model_args": {"pretrained": results.model.id, **patch},
            "model_dtype": results.model.dtype,
            "model_revision": results.model.revision or "",
            "model_sha": results.model.fingerprint,
            "batch_size": settings.get("batch_size"),
            "limit": settings.get("limit"),
            "gen_kwargs": settings.get("decoding", {}),
            **{f"{kind}_seed": seed for kind in ("random", "numpy", "torch", "fewshot")},
        },
        "date": datetime.fromisoformat(results.created).timestamp(),
        "transformers_version": results.versions.get("transformers"),
        "declutch_version": results.versions.get("declutch"),
        "model_source": "declutch",
        "model_name": name,
        "model_name_sanitized": re.sub(r"[\"<>:/|\\?*\[\]]+", "__", name),
    }


def _sample(number: int, row: ReplyRow, each: ScoredSet) -> dict[str, Any]:
    doc = {"id": row.id, "prompt": row.prompt}
    values = {
        _key(series.name): float(series.values[row.pairing])
        for series in each.series
        if series.values.get(row.pairing) is not None
    }
    return {
        "doc_id": number,
        "doc": doc,
        "target": "",
        "arguments": {"gen_args_0": {"arg_0": row.prompt, "arg_1": {}}},
        "resps": [[row.reply]],
        "filtered_resps": [row.reply],
        "filter": "none",
        "metrics": list(values),
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(row.prompt),
        "target_hash": _hash(""),
        **values,
    }


def _key(metric: str) -> str:
    """A name that the harness can part from that of its filter, which stands behind a comma."""
    return metric.replace(",", " ")


def _safe(*parts: str | None) -> str:
    return "_".join(re.sub(r"\W", "_", part) for part in parts if part)


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()
