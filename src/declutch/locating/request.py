"""What a selection rule is given and what it answers with; where rules are found by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from declutch.registry import Registry

Positions = NDArray[np.int64]
Selection = dict[str, Positions]


@dataclass(frozen=True)
class Request:
    """What a rule chooses from.

    Attributes:
        tops: for each dimension and matrix, the top positions, highest score first.
        couple: the coupled dimensions, in the order given.
        exclude: the excluded dimensions.
        control: for each matrix, positions in random order.
        statistics: how each dimension was scored: ``abs``, ``signed`` or ``contrast``.
    """

    tops: Mapping[str, Selection]
    couple: Sequence[str]
    exclude: Sequence[str]
    control: Selection = field(default_factory=dict)
    seed: int = 0
    statistics: Mapping[str, str] = field(default_factory=dict)

    @property
    def matrices(self) -> tuple[str, ...]:
        """Names of all matrices."""
        return tuple(self.tops[self.couple[0]])

    def excluded(self, matrix: str) -> Positions:
        """Positions that any excluded dimension holds important."""
        empty = np.empty(0, dtype=np.int64)
        return reduce(np.union1d, (self.tops[name][matrix] for name in self.exclude), empty)

    def joined(self, join: Callable[[Positions, Positions], Positions]) -> Selection:
        """In each matrix the coupled dimensions' positions joined, less the excluded ones."""
        return {
            matrix: np.setdiff1d(
                reduce(join, (self.tops[name][matrix] for name in self.couple)),
                self.excluded(matrix),
            )
            for matrix in self.matrices
        }


# A rule that takes an argument (``single:privacy``) has it as a second parameter. Where that is
# called ``dimension``, the tops of the dimension it names are in the request too.
Rule = Callable[..., Selection]
RULES: Registry[Rule] = Registry("rule", "declutch.locating.rules", "--rule")
