"""The rules beside each other: at one number of weights, and at one cost for general ability.

    declutch score demo --data fairness=bundled:fairness --data privacy=bundled:privacy \
        --data general=bundled:general --contrast fairness --contrast privacy \
        --num-samples 48 -o SCORES
    python -m benchmarks.rules SCORES OUT --model demo --judge heuristic --judge embedding:JUDGE

Number and cost are those of the paper's rule at ``--ratio``; cost is the sum of absolute importance
for the excluded dimension. A rule with a ratio gets the one that comes nearest. Each edit is made
in memory and evaluated on the bundled suite, whose prompts and pairs were not scored; evaluations
are kept in OUT, and the same command goes on with them. The table goes to stdout and OUT/rules.md,
all numbers to OUT/rules.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from declutch.comparing.comparison import Comparison, ComparisonRow
from declutch.errors import SettingsError
from declutch.evaluating.compare import compare
from declutch.evaluating.evaluate import evaluate
from declutch.evaluating.plan import make_plan
from declutch.files import write_json
from declutch.locating import locate
from declutch.models.loading import LoadedModel, load_model
from declutch.patching import Patch
from declutch.progress import quiet
from declutch.scoring.shortlists import Scores
from declutch.settings import EvaluateSettings, ModelSettings
from declutch.tuning.proof import at_random

COUPLE, EXCLUDE = ("fairness", "privacy"), ("general",)
FREE = 10**6  # a limit that does not bind
BISECTIONS = 18
RATIO_RULES = ("contrast", "released")
SHOWN = (
    "margin/",
    "awareness/",
    "aware_answering/",
    "over_refusal/",
    "over_caution/",
    "perplexity/",
)


def cost(scores: Scores, patch: Patch) -> float:
    """What a patch takes of general ability, to first order."""
    total = 0.0
    for name, at in patch.indices.items():
        known = scores.candidates[name]
        places = np.searchsorted(known.indices.numpy(), at.numpy())
        total += sum(float(known.scores[one][places].sum()) for one in EXCLUDE)
    return total


def nearest(make: Callable[[float], Patch], of: Callable[[Patch], float], wanted: float) -> Patch:
    """The patch of the ratio at which something that grows with it comes nearest to a number."""
    low, high = -8.0, -3.0
    found: list[Patch] = []
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        found.append(make(10**middle))
        low, high = (middle, high) if of(found[-1]) < wanted else (low, middle)
    return min(found, key=lambda patch: abs(of(patch) - wanted))


def edits(scores: Scores, ratio: float) -> Iterator[tuple[str, Callable[[], Patch]]]:
    """By name, how each edit is found."""

    def chosen(rule: str, **options: Any) -> Patch:
        with quiet():
            return locate(scores, COUPLE, EXCLUDE, rule=rule, **{"ratio": ratio, **options})

    def matched(rule: str, of: Callable[[Patch], float], wanted: float) -> Patch:
        def make(ratio: float) -> Patch:
            try:
                return chosen(rule, ratio=ratio)
            except SettingsError:  # it takes nothing there
                return paper - paper

        return nearest(make, of, wanted)

    def spent(patch: Patch) -> float:
        return cost(scores, patch)

    paper = chosen("coupled")
    number, budget = len(paper), spent(paper)
    yield "coupled", lambda: paper
    for rule in RATIO_RULES:
        yield f"{rule}, as many", partial(matched, rule, len, number)
        yield f"{rule}, same cost", partial(matched, rule, spent, budget)
    free = partial(chosen, "balanced", weights=FREE)
    yield "balanced, as many", partial(chosen, "balanced", budget=FREE)
    yield "balanced, as many at half the cost", partial(chosen, "balanced", budget=0.5)
    yield "balanced, same cost", free
    for weight in (0.3, 1.0):
        yield f"balanced, same cost, harmless ≥ {weight:g}", partial(free, harmless_weight=weight)
    yield "random, as many", lambda: at_random(paper, scores, 0)
    yield "random, as many as balanced at the same cost", lambda: at_random(free(), scores, 0)


def main() -> None:
    """Make each edit, evaluate it, and print a row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("scores", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--ratio", type=float, default=1e-5)
    parser.add_argument("--judge", action="append")
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--max-new-tokens", type=int, default=48)
    asked = parser.parse_args()
    scores, loaded = Scores.load(asked.scores), load_model(asked.model, ModelSettings())
    settings = EvaluateSettings(
        judge=tuple(asked.judge or ("heuristic",)), limit=asked.limit,
        max_new_tokens=asked.max_new_tokens, batch_size=50,
    )  # fmt: skip
    _evaluated(loaded, settings, None, asked.out / "origin")
    rows: list[dict[str, Any]] = []
    for place, (name, find) in enumerate(edits(scores, asked.ratio)):
        started = time.monotonic()
        patch = find()
        seconds = time.monotonic() - started
        folder = asked.out / f"edit-{place}"
        _evaluated(loaded, settings, patch, folder)
        comparison = compare(asked.out / "origin", folder)
        row = {
            "edit": name, "weights": len(patch), "seconds": seconds, "choice": patch.info.choice,
            "changes": {row.name: row.as_json() for row in comparison.rows},
            "cells": _cells(comparison),
        }  # fmt: skip
        rows.append(row)
        print(f"{name}: {len(patch):,} weights, {row['cells']}", flush=True)
        write_json(asked.out / "rules.json", {"model": scores.info.model.id, "edits": rows})
    (asked.out / "rules.md").write_text(_table(rows), encoding="utf-8")
    print(_table(rows))


def _evaluated(
    loaded: LoadedModel, settings: EvaluateSettings, patch: Patch | None, out: Path
) -> None:
    plan = make_plan(settings)
    evaluate(
        loaded.model, loaded.tokenizer, plan.suite, judges=plan.judges, settings=plan.settings,
        out=out, patch=patch, model_info=loaded.info,
    )  # fmt: skip


def _cells(comparison: Comparison) -> dict[str, str]:
    shown = [row for row in comparison.rows if row.name.startswith(SHOWN)]
    return {row.name: _cell(row) for row in shown}


def _cell(row: ComparisonRow) -> str:
    """The change with its interval; of shares also what was gained and lost."""
    if row.difference is None:
        return "–"
    share = row.metric.kind == "proportion"
    scale, places = (100, 0) if share else (1, 2 if row.metric.kind == "perplexity" else 3)
    ends = [row.difference, row.low or 0.0, row.high or 0.0]
    change, low, high = (f"{scale * value:+.{places}f}" for value in ends)
    told = f"{change} ({low} to {high})"
    return f"{told} +{row.gained} −{row.lost}" if share else told


def _table(rows: list[dict[str, Any]]) -> str:
    columns = list(rows[0]["cells"])
    lines = [["edit", "weights", *(name.replace("/", " ") for name in columns)]]
    lines.append(["---"] * len(lines[0]))
    for row in rows:
        lines.append([row["edit"], f"{row['weights']:,}", *(row["cells"][c] for c in columns)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
