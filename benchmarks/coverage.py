"""How often 95 % intervals of clustered items hold the truth, and how often a test errs at 0.05.

    python -m benchmarks.coverage [REPEATS]

Data are made up: clusters with a chance of their own (beta and Dirichlet) or a mean of their own
(normal), so that the truth is known. ``rho`` is the correlation of two items of one cluster. Prints
the table of docs/statistics.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from declutch.comparing.kinds import MEAN, PROPORTION, Paired, Summary

SHARE, GAINED, LOST = 0.2, 0.2, 0.1
# Five replies to each prompt; near-duplicates among prompts most of which stand alone.
SHAPES = {
    "20 × 5": [5] * 20,
    "50 × 5": [5] * 50,
    "200 × 5": [5] * 200,
    "60 × 1, 8 × 5": [1] * 60 + [5] * 8,
}
RHOS = (0.0, 0.3, 0.8)


@dataclass(frozen=True)
class Made:
    """One set of data: the items' clusters, a share, a change, its null, and a mean."""

    clusters: list[int]
    aware: list[bool]
    change: list[int]
    null: list[int]
    values: list[float]


def make(sizes: Sequence[int], rho: float, generator: np.random.Generator) -> Made:
    """Draw one set; ``change`` and ``null`` are -1, 0 or 1 an item."""
    clusters = [number for number, size in enumerate(sizes) for _ in range(size)]
    tight = (1 - rho) / max(rho, 1e-3)
    chances = generator.beta(SHARE * tight, (1 - SHARE) * tight, len(sizes))
    made: list[list[int]] = []
    for gained, lost in ((GAINED, LOST), (LOST, LOST)):
        each = generator.dirichlet(
            np.array([lost, 1 - gained - lost, gained]) * tight, size=len(sizes)
        )
        limits = each.cumsum(axis=1)[clusters]
        made.append(((generator.random((len(clusters), 1)) > limits).sum(axis=1) - 1).tolist())
    shared = generator.normal(0, np.sqrt(rho), len(sizes))[clusters]
    own = generator.normal(0, np.sqrt(1 - rho), len(clusters))
    aware = generator.random(len(clusters)) < chances[clusters]
    return Made(clusters, aware.tolist(), made[0], made[1], (shared + own).tolist())


def outcomes(made: Made, *, clustered: bool) -> Iterator[bool]:
    """Whether the intervals of share, difference and mean hold the truth; whether the test errs."""
    clusters = made.clusters if clustered else ()
    change, null = (
        PROPORTION.paired(*sides(each), 0, clusters) for each in (made.change, made.null)
    )
    yield _holds(PROPORTION.summary(made.aware, 0, clusters), SHARE)
    yield _holds(change, GAINED - LOST)
    yield _holds(MEAN.summary(made.values, 0, clusters), 0.0)
    yield null.p is not None and null.p < 0.05


def _holds(found: Summary | Paired, truth: float) -> bool:
    assert found.low is not None
    assert found.high is not None
    return found.low <= truth <= found.high


def sides(change: Sequence[int]) -> tuple[list[bool], list[bool]]:
    """A yes/no before and after with these changes."""
    return [each < 0 for each in change], [each > 0 for each in change]


def table(repeats: int) -> Iterator[str]:
    """The lines of the table: percentages, clustered / taken as independent."""
    yield "| clusters × items | rho | share | difference | mean | false alarms |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    generator = np.random.default_rng(0)
    for shape, sizes in SHAPES.items():
        for rho in RHOS:
            sets = [make(sizes, rho, generator) for _ in range(repeats)]
            both = [
                np.mean([list(outcomes(made, clustered=clustered)) for made in sets], axis=0)
                for clustered in (True, False)
            ]
            cells = " | ".join(f"{100 * a:.1f} / {100 * b:.1f}" for a, b in zip(*both, strict=True))
            yield f"| {shape} | {rho} | {cells} |"


if __name__ == "__main__":
    for line in table(int(sys.argv[1]) if len(sys.argv) > 1 else 2000):
        print(line, flush=True)
