"""The winner and its controls on prompts that nothing was searched on."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

from declutch.comparing.comparison import Comparison
from declutch.comparing.pooling import pooled
from declutch.comparing.verdict import verdict
from declutch.data.names import CONTROL
from declutch.errors import ShortlistTooShort
from declutch.locating.rules.random import as_many
from declutch.patching import Patch
from declutch.progress import log
from declutch.scoring.shortlists import Scores
from declutch.tuning.record import WINNER, Proven

_ROLES: Mapping[str, str] = {
    WINNER: "what the search found",
    "paper": "the paper's rule at its best on the tuning prompts",
    "balanced": "the balanced rule at its best on the tuning prompts",
    "random": "as many weights as the winner, in the same matrices, at random",
    "null": "the winner's weights, left as they are: shows no difference",
}

# By name, the patch and its comparison with the original; the winner first.
Proof = Mapping[str, tuple[Patch, Comparison]]


def controls(
    winner: Patch, best: Mapping[str, Patch], scores: Scores, seed: int, kinds: Container[str]
) -> dict[str, Patch]:
    """The patches to be proven, the winner first; without a random one where scores are too short.

    Args:
        best: by rule, its best edit on the tuning prompts.
        seed: of the random control.
        kinds: of controls that are asked for.
    """
    edits = {WINNER: winner}
    if "rules" in kinds:
        edits |= {
            "paper" if rule == "coupled" else rule: patch
            for rule, patch in best.items()
            if rule != winner.info.rule
        }
    if "random" in kinds:
        try:
            edits["random"] = at_random(winner, scores, seed)
        except ShortlistTooShort as error:
            log.warning("Without the random control: %s", error)
    if "null" in kinds:
        edits["null"] = winner.scaled(1.0)
    return edits


def at_random(patch: Patch, scores: Scores, seed: int) -> Patch:
    """As many other weights in each matrix as a patch has there.

    Raises:
        ShortlistTooShort: the scores hold too few random positions.
    """
    control = {name: one.indices.numpy() for name, one in scores.shortlists[CONTROL].items()}
    positions = {name: indices.numpy() for name, indices in patch.indices.items()}
    info = patch.info.model_copy(update={"rule": "random", "seed": seed})
    chosen = as_many(positions, control, seed)
    return Patch.from_selection(info, chosen, scores.shortlists)


def proven(proof: Proof, couple: Sequence[str]) -> Iterator[Proven]:
    """What the proof says of each edit."""
    for name, (patch, comparison) in proof.items():
        sets = [row for row in comparison.outcomes if row.metric.dimension in couple]
        rows = pooled(sets)
        others = [row for row in comparison.rows if row.measure.role == "side effect"]
        ways = [row for row in comparison.rows if row.before.group == "flow"]
        yield Proven(
            name=name,
            role=_ROLES[name],
            rule=patch.info.rule,
            weights=len(patch),
            verdict=verdict(rows, couple, others),
            metrics={
                row.name: {
                    "before": row.before.value, "after": row.after.value,
                    "difference": row.difference, "low": row.low, "high": row.high,
                    "reading": row.reading,
                }
                for row in [*rows, *(row for row in sets if row not in rows), *ways, *others]
            },
        )  # fmt: skip
