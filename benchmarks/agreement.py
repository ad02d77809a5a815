"""Whether two ways choose the same positions."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import floor
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from benchmarks.ways import TOP

# Two float32 sums of the same numbers in another order differ by about this, as a share.
ROUNDING = 2e-5

Ranked = dict[int, float]  # scores by position, highest first


@dataclass
class Agreement:
    """The top of every matrix in two ways.

    Attributes:
        matrices: how many were compared.
        positions: chosen positions over all matrices.
        same: matrices with exactly the same positions.
        ties: positions chosen by one way alone, whose scores in both ways and the last chosen
            ones' are all the same within rounding.
        differences: those chosen by one way alone for any other reason.
    """

    matrices: int = 0
    positions: int = 0
    same: int = 0
    ties: list[dict[str, Any]] = field(default_factory=list)
    differences: list[dict[str, Any]] = field(default_factory=list)


def compare(first: Path, second: Path, sizes: dict[str, int]) -> Agreement:
    """Compare the top share :data:`TOP` in the matrices that both files hold."""
    one, other = _read(first), _read(second)
    agreement = Agreement()
    for name in sorted(one.keys() & other.keys()):
        chosen = max(1, floor(TOP * sizes[name]))
        agreement.matrices += 1
        agreement.positions += chosen
        tops = [set(list(ranked)[:chosen]) for ranked in (one[name], other[name])]
        agreement.same += tops[0] == tops[1]
        limits = [list(ranked.values())[chosen - 1] for ranked in (one[name], other[name])]
        for position in sorted(tops[0] ^ tops[1]):
            scores = [ranked.get(position) for ranked in (one[name], other[name])]
            entry = {"matrix": name, "position": position, "scores": scores, "last chosen": limits}
            tied = _rounds_to_one([*scores, *limits])
            (agreement.ties if tied else agreement.differences).append(entry)
    return agreement


def _rounds_to_one(scores: list[float | None]) -> bool:
    known = [score for score in scores if score is not None]
    return len(known) == len(scores) and max(known) - min(known) <= ROUNDING * max(known)


def _read(path: Path) -> dict[str, Ranked]:
    tensors = load_file(path)
    names = {key.removesuffix("/indices") for key in tensors if key.endswith("/indices")}
    return {
        name: dict(
            zip(
                tensors[f"{name}/indices"].tolist(), tensors[f"{name}/scores"].tolist(), strict=True
            )
        )
        for name in names
    }
