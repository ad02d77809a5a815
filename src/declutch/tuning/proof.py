"""The winner and its controls on prompts that nothing was searched on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from declutch.comparing.comparison import Comparison
from declutch.comparing.verdict import verdict
from declutch.data.names import CONTROL
from declutch.patching import Patch
from declutch.scoring.shortlists import Scores
from declutch.tuning.record import WINNER, Proven

_ROLES: Mapping[str, str] = {
    WINNER: "what the search found",
    "paper": "the paper's rule at its best ratio on the tuning prompts",
    "random": "as many weights as the winner, in the same matrices, at random",
    "null": "the winner's weights, left as they are: shows no difference",
}

# By name, the patch and its comparison with the original; the winner first.
Proof = Mapping[str, tuple[Patch, Comparison]]


def controls(winner: Patch, paper: Patch | None, scores: Scores) -> dict[str, Patch]:
    """The patches to be proven, the winner first."""
    edits = {WINNER: winner}
    if paper is not None:
        edits["paper"] = paper
    edits["random"] = at_random(winner, scores)
    edits["null"] = winner.scaled(1.0)
    return edits


def at_random(patch: Patch, scores: Scores) -> Patch:
    """As many weights in each matrix as a patch has there, from the scores' random pool.

    The pool is in random order; where it is smaller than the patch, all of it is taken.
    """
    pool = scores.shortlists[CONTROL]
    chosen = {
        matrix: pool[matrix].indices[:count].numpy()
        for matrix, count in patch.counts.items()
        if count
    }
    info = patch.info.model_copy(update={"rule": "random"})
    return Patch.from_selection(info, chosen, scores.shortlists)


def proven(proof: Proof, couple: Sequence[str]) -> Iterator[Proven]:
    """What the proof says of each edit."""
    for name, (patch, comparison) in proof.items():
        rows = [row for row in comparison.outcomes if row.metric.dimension in couple]
        others = [row for row in comparison.rows if row.measure.role == "side effect"]
        ways = [row for row in comparison.rows if row.before.group == "flow"]
        yield Proven(
            name=name,
            role=_ROLES[name],
            weights=len(patch),
            verdict=verdict(rows, couple, others),
            metrics={
                row.name: {
                    "before": row.before.value, "after": row.after.value,
                    "difference": row.difference, "low": row.low, "high": row.high,
                    "reading": row.reading,
                }
                for row in [*rows, *ways, *others]
            },
        )  # fmt: skip
