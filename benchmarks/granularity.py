"""What suppressing whole heads and neurons does, beside as many weights at random.

    declutch score demo --data fairness=bundled:fairness --data privacy=bundled:privacy \
        --data general=bundled:general --contrast fairness --contrast privacy \
        --target-modules all --num-samples 48 -o SCORES
    python -m benchmarks.granularity SCORES OUT

Each edit gets a folder in OUT as `declutch evaluate demo --patch PATCH --limit 50
--max-new-tokens 40` leaves it; what is there is not done again. «As many weights» are as many in
each matrix as the coupled units have there, at random. A table goes to stdout.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from declutch.comparing.comparison import ComparisonRow
from declutch.evaluating.compare import compare
from declutch.evaluating.evaluate import evaluate
from declutch.locating import locate
from declutch.models.loading import LoadedModel, load_model
from declutch.patching import Patch
from declutch.scoring.shortlists import Scores

COUPLE, EXCLUDE = ("fairness", "privacy"), ("general",)
HEADS = {"granularity": "head", "scope": "model", "ratio": 0.1}
NEURONS = {"granularity": "neuron", "ratio": 0.01}
ANY = "weights at random"
EDITS: dict[str, dict[str, Any]] = {
    "heads, coupled": HEADS,
    "heads at random": {**HEADS, "rule": "random"},
    "as many weights as those heads": {**HEADS, "rule": ANY},
    "neurons, coupled": NEURONS,
    "neurons at random": {**NEURONS, "rule": "random"},
    "as many weights as those neurons": {**NEURONS, "rule": ANY},
    "neurons, balanced": {**NEURONS, "rule": "balanced"},
    "heads, balanced": {**HEADS, "rule": "balanced"},
    "neurons, contrast": {**NEURONS, "rule": "contrast"},
    "heads, contrast": {**HEADS, "rule": "contrast"},
}


def made(scores: Scores, loaded: LoadedModel, options: dict[str, Any]) -> Patch:
    """The patch of an edit."""
    if options.get("rule") != ANY:
        return locate(scores, COUPLE, EXCLUDE, model=loaded.model, **options)
    like = made(scores, loaded, {**options, "rule": "coupled"})
    generator = np.random.default_rng(0)
    selection = {
        name: np.sort(generator.choice(like.info.matrices[name].numel, len(one), replace=False))
        for name, one in like.indices.items()
    }
    info = like.info.model_copy(update={"rule": ANY, "units": (), "granularity": "weight"})
    return Patch.from_model(info, selection, loaded.model)


def row(name: str, patch: Patch, before: Path, after: Path) -> str:
    """A line of the table."""
    found = {one.name: one for one in compare(before, after).rows}
    cells = [name, f"{len(patch.info.units)}", f"{len(patch):,}"]
    wanted = [f"awareness/{d}/heuristic" for d in COUPLE]
    wanted += [n for n in found if n.startswith("over_refusal/")]
    wanted += [n for n in found if n.startswith("perplexity")]
    return "| " + " | ".join([*cells, *(_cell(found[n]) for n in wanted)]) + " |"


def _cell(one: ComparisonRow) -> str:
    if one.metric.kind == "proportion":
        changed = f"(+{one.gained} −{one.lost})"
        return f"{one.before.count} → {one.after.count} of {one.after.total} {changed}"
    return f"{one.before.value:.2f} → {one.after.value:.2f}"


def main(folder: str, out: str) -> None:
    """Make each edit, evaluate it, and print a row."""
    scores, loaded = Scores.load(folder), load_model("demo")

    def measured(name: str, patch: Patch | None) -> Path:
        where = Path(out) / name.replace(", ", "-").replace(" ", "-")
        evaluate(
            loaded.model, loaded.tokenizer, "bundled", limit=50, max_new_tokens=40, batch_size=50,
            out=where, patch=patch, model_info=loaded.info,
        )  # fmt: skip
        return where

    before = measured("origin", None)
    for name, options in EDITS.items():
        patch = made(scores, loaded, options)
        print(row(name, patch, before, measured(name, patch)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
