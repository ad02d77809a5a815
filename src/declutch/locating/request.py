"""What a selection rule is given and what it answers with; where rules are found by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from declutch.registry import Registry

Positions = NDArray[np.int64]
Selection = dict[str, Positions]


@dataclass(frozen=True)
class Table:
    """The candidates of all matrices in a row.

    Attributes:
        positions: by matrix, ascending.
        values: for each kind of scores its values at them.
        weights: how many weights each of them has, where they are whole units; else one.
    """

    positions: Selection
    values: Mapping[str, NDArray[np.float64]]
    weights: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return sum(len(one) for one in self.positions.values())

    def mask(self, selection: Selection) -> NDArray[np.bool_]:
        """Where the candidates of a selection stand in the row."""
        return np.concatenate(
            [np.isin(at, selection.get(matrix, ())) for matrix, at in self.positions.items()]
        )

    def selection(self, mask: NDArray[np.bool_]) -> Selection:
        """The positions that stand where a mask is true."""
        ends = np.cumsum([len(at) for at in self.positions.values()])
        parts = np.split(mask, ends[:-1])
        return {m: at[part] for (m, at), part in zip(self.positions.items(), parts, strict=True)}


class Choice(dict[str, Positions]):
    """A selection of which a rule has more to tell.

    Attributes:
        facts: JSON values, kept in the patch.
        words: sentences for people, kept there and shown.
    """

    def __init__(
        self, selection: Selection, facts: Mapping[str, Any], words: tuple[str, ...] = ()
    ) -> None:
        super().__init__(selection)
        self.facts = facts
        self.words = words


@dataclass(frozen=True)
class Request:
    """What a rule chooses from.

    Attributes:
        tops: for each dimension and matrix, the top positions, highest score first.
        couple: the coupled dimensions, in the order given.
        exclude: the excluded dimensions.
        control: for each matrix, positions in random order.
        statistics: how each kind of scores was made: ``abs``, ``signed`` or ``contrast``.
        contrasts: the tops of contrasted dimensions by their contrast, where it is above zero.
        table: what all dimensions score at all candidates, where that was gathered.
    """

    tops: Mapping[str, Selection]
    couple: Sequence[str]
    exclude: Sequence[str]
    control: Selection = field(default_factory=dict)
    seed: int = 0
    statistics: Mapping[str, str] = field(default_factory=dict)
    contrasts: Mapping[str, Selection] = field(default_factory=dict)
    table: Table | None = None

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
# called ``dimension``, the tops of the dimension it names are in the request too. Keyword-only
# parameters take the settings of their names.
Rule = Callable[..., Selection]
RULES: Registry[Rule] = Registry("rule", "declutch.locating.rules", "--rule")

# Rules of what is good against bad: one dimension is enough for them, and a run contrasts those
# that are coupled.
CONTRASTING = ("balanced", "contrast")
