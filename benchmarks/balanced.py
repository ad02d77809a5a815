"""What the rule ``balanced`` truly does on pairs that were not scored, beside the paper's rule.

    declutch score demo --data fairness=bundled:fairness --data privacy=bundled:privacy \
        --data general=bundled:general --contrast fairness --contrast privacy \
        --num-samples 48 -o SCORES
    python -m benchmarks.balanced SCORES TABLE.json

Each edit is made in memory. Margins are of the bundled evaluation pairs and of harmless pairs that
were not scored; perplexity is on the bundled passages. Changes against the model as it is, with
95 % intervals by resampling pairs or texts. A table goes to stdout, all numbers to TABLE.json.
"""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from declutch.comparing.statistics import PairedMeans, paired_bootstrap, paired_perplexity
from declutch.data.bundled import load_bundled
from declutch.data.encoding import Encoder
from declutch.data.example import Example
from declutch.data.loading import load_examples
from declutch.files import write_json
from declutch.locating import locate
from declutch.measures.margin import margins
from declutch.measures.perplexity import passage_nll
from declutch.models.forward import evaluation_mode
from declutch.models.loading import LoadedModel, load_model
from declutch.patching import Patch
from declutch.scoring.shortlists import Scores
from declutch.settings import ModelSettings
from declutch.suites.bundled import bundled

COUPLE, EXCLUDE = ("fairness", "privacy"), ("general",)
FREE = 1e6  # a limit that does not bind
PAIRS = 60  # of each dimension
EDITS: dict[str, dict[str, Any]] = {
    "coupled, 1e-5": {},
    "balanced, same number and cost": {"rule": "balanced"},
    "balanced, same cost": {"rule": "balanced", "weights": int(FREE)},
    "balanced, half the cost": {"rule": "balanced", "weights": int(FREE), "budget": 0.5},
    "same cost, harmless ≥ 1": {
        "rule": "balanced", "weights": int(FREE), "harmless_weight": 1.0,
    },
    "random, as many as coupled": {"rule": "random"},
}  # fmt: skip


def held_out(scores: Scores) -> dict[str, list[Example]]:
    """Pairs of each dimension that were not scored."""
    settings = scores.info.settings
    used = load_examples(
        "bundled:harmless", num_samples=settings["num_samples"], seed=settings["seed"]
    )
    taken = {example.prompt for example in used.examples}
    rest = [example for example in load_bundled("harmless") if example.prompt not in taken]
    pairs = {name: load_bundled(f"eval_{name}") for name in COUPLE}
    return {name: list(found[:PAIRS]) for name, found in {**pairs, "harmless": rest}.items()}


def measure(
    loaded: LoadedModel, pairs: dict[str, list[Example]], patch: Patch | None
) -> dict[str, list[Any]]:
    """The margin of each pair by dimension, and each passage's NLL and tokens."""
    encoder = Encoder(loaded.tokenizer)
    applied = patch.applied(loaded.model) if patch else nullcontext()
    with applied, evaluation_mode(loaded.model):
        found: dict[str, list[Any]] = {
            name: [one.margin for one in margins(loaded.model, encoder, name, examples)]
            for name, examples in pairs.items()
        }
        texts = passage_nll(loaded.model, loaded.tokenizer, bundled().passages)
    return {**found, "nll": [one.nll for one in texts], "tokens": [one.tokens for one in texts]}


def main(folder: str, out: str) -> None:
    """Make each edit, measure it, and print a row."""
    scores = Scores.load(folder)
    loaded = load_model("demo", ModelSettings())
    pairs = held_out(scores)
    before = measure(loaded, pairs, None)
    rows = []
    head = ["edit", "weights", *(f"margin {name}" for name in pairs), "perplexity"]
    print("| " + " | ".join(head) + " |\n| " + " | ".join(["---"] * len(head)) + " |")
    for name, options in EDITS.items():
        started = time.monotonic()
        patch = locate(scores, COUPLE, EXCLUDE, ratio=1e-5, **options)
        seconds = time.monotonic() - started
        after = measure(loaded, pairs, patch)
        changes = {one: paired_bootstrap(before[one], after[one]) for one in pairs}
        changes["perplexity"] = paired_perplexity(before["nll"], after["nll"], before["tokens"])
        cells = [name, f"{len(patch):,}", *(_cell(one) for one in changes.values())]
        print("| " + " | ".join(cells) + " |", flush=True)
        rows.append(
            {
                "edit": name, "options": options, "weights": len(patch), "locate_seconds": seconds,
                "choice": patch.info.choice, "seconds_of_scoring": _seconds(scores),
                "changes": {key: [o.difference, o.low, o.high] for key, o in changes.items()},
            }
        )  # fmt: skip
        write_json(Path(out), {"model": scores.info.model.id, "before": before, "edits": rows})


def _cell(change: PairedMeans) -> str:
    return f"{change.difference:+.3f} ({change.low:+.3f} to {change.high:+.3f})"


def _seconds(scores: Scores) -> dict[str, float]:
    scored = sum(one.seconds for one in scores.info.dimensions.values())
    return {"shortlists": scored, "gather": sum(scores.info.gathered.values())}


if __name__ == "__main__":
    main(*sys.argv[1:])
