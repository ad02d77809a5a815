"""Score the tiny model into a folder, to be killed. Arguments: OUT, pause, interval."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

from declutch.models.matrices import find_matrices
from declutch.scoring.accumulate import Accumulation
from declutch.scoring.memory import make_plan, state_bytes
from declutch.scoring.methods.importance import Importance
from declutch.scoring.score import score
from tests.conftest import build_model, build_tokenizer
from tests.scoring.test_importance import make_examples
from tests.scoring.test_score import make_pairs

DATA = {"fairness": make_pairs(8), "privacy": make_pairs(8, 3)}


def main() -> None:
    out, pause, interval = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    model, tokenizer = build_model("llama"), build_tokenizer()
    step = Accumulation._step

    def slow_step(self: Accumulation, indices: list[int], done: Counter[str]) -> None:
        time.sleep(pause)
        step(self, indices, done)

    Accumulation._step = slow_step  # type: ignore[method-assign]
    matrices = find_matrices(model, "mlp").matrices
    plan = make_plan(model, Importance(), matrices, make_examples(), 1 << 30)
    beside = max(plan.fixed + 64 * plan.per_token, plan.workspace)
    limit = beside + 3 * state_bytes(Importance(), matrices[0])  # two groups
    score(
        model, tokenizer, DATA, shortlist=0.1, out=out, batch_tokens=80, contrast=("fairness",),
        no_harmless=True, memory_limit=limit, checkpoint_interval=interval,
    )  # fmt: skip


if __name__ == "__main__":
    main()
