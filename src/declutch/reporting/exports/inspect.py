"""Logs of inspect_ai: one a prompt set, each reply a sample with a score of each metric.

The format is inspect_ai's log schema, version 2, written as plain JSON: the package itself brings
some fifty others. Its own reader is asked in the tests.
"""

from __future__ import annotations

from typing import Any

from declutch.comparing.results import Results
from declutch.comparing.series import Series
from declutch.evaluating.compare import Side
from declutch.items import content_hash
from declutch.progress import log
from declutch.replies.store import ReplyRow
from declutch.reporting.export import EXPORTS, Files, ScoredSet, model_name, scored_sets

_STOPS = {"stop": "stop", "length": "max_tokens"}


@EXPORTS.register("inspect")
def inspect_logs(side: Side) -> Files:
    """A log for each prompt set; what is not of replies has no place in one."""
    sets = scored_sets(side)
    scored = {series.name for each in sets for series in each.series}
    if left := {m.group: 0 for m in side.results.metrics if m.name not in scored}:
        log.info("Not in these logs, which hold a score of each reply: %s.", ", ".join(left))
    run = content_hash(side.results.model_dump(mode="json"))
    files = {}
    for each in sets:
        value = _log(side.results, each, run)
        spec = value["eval"]
        # Inspect lists a folder by the parts of its names, which are put together with «_».
        parts = [spec[key] for key in ("created", "task", "task_id")]
        safe = ("".join(c if c.isalnum() or c in "+-" else "-" for c in part) for part in parts)
        files["_".join(safe) + ".json"] = value
    return files


def _log(results: Results, each: ScoredSet, run: str) -> dict[str, Any]:
    settings = results.settings
    decoding = settings.get("decoding", {})
    made = {"max_tokens": decoding.get("max_new_tokens"), "top_p": decoding.get("top_p")}
    made["temperature"] = (
        0.0 if decoding.get("decoding") == "greedy" else decoding.get("temperature")
    )
    model, task_id = model_name(results), content_hash(run, each.name)
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "eval_id": task_id,
            "run_id": run,
            "created": results.created,
            "task": each.name,
            "task_id": task_id,
            "task_args": {"decoding": decoding, "judges": settings.get("judges", {})},
            "tags": ["declutch", each.facts.kind],
            "dataset": {
                "name": each.name,
                "samples": len(each.rows),
                "sample_ids": [row.id for row in each.rows],
                "shuffled": False,
            },
            "model": model,
            "model_args": results.model.model_dump(mode="json"),
            "model_generate_config": {k: v for k, v in made.items() if v is not None},
            "config": {"limit": settings.get("limit"), "epochs": 1},
            "packages": results.versions,
            "metadata": {
                "dimension": each.facts.dimension,
                "patch": results.patch.model_dump(mode="json") if results.patch else None,
                "suite_sha256": settings.get("suite_sha256"),
            },
        },
        "results": {
            "total_samples": len(each.rows),
            "completed_samples": len(each.rows),
            "scores": [_score(results, series) for series in each.series],
        },
        "samples": [_sample(row, each, model) for row in each.rows],
    }


def _score(results: Results, series: Series) -> dict[str, Any]:
    metric = results.metric(series.name)
    facts = metric.model_dump(mode="json", include={"count", "low", "high", "better", "note"})
    value = {"name": "mean", "value": metric.value, "metadata": facts}
    return {
        "name": metric.name,
        "scorer": metric.name,
        "scored_samples": metric.total,
        "unscored_samples": len(series.values) - metric.total,
        "metrics": {} if metric.value is None else {"mean": value},
    }


def _sample(row: ReplyRow, each: ScoredSet, model: str) -> dict[str, Any]:
    reply = {"role": "assistant", "content": row.reply, "source": "generate", "model": model}
    found = {series.name: series for series in each.series}
    return {
        "id": row.id,
        "epoch": 1,
        "input": row.prompt,
        "target": "",
        "messages": [{"role": "user", "content": row.prompt, "source": "input"}, reply],
        "output": {
            "model": model,
            "choices": [{"message": reply, "stop_reason": _STOPS[row.finish]}],
            "completion": row.reply,
        },
        # A reply that does not count (unparsed) has no score: Inspect's own means are ours then.
        "scores": {
            name: _sample_score(row, series)
            for name, series in found.items()
            if series.values.get(row.pairing) is not None
        },
        "metadata": {"kinds": row.kinds.as_dict()},
    }


def _sample_score(row: ReplyRow, series: Series) -> dict[str, Any]:
    score: dict[str, Any] = {"value": series.values[row.pairing]}
    if verdict := row.verdicts.get(series.judge or ""):
        score |= {"answer": verdict.verdict, "explanation": verdict.reason or None}
        score["metadata"] = {"raw": verdict.raw}
    return score
