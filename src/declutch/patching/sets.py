"""Patches joined, intersected and subtracted, and what is kept of those that they were made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from declutch.errors import PatchMismatch
from declutch.records import Record

if TYPE_CHECKING:
    from declutch.patching.patch import Patch, PatchInfo

Sign = Literal["|", "&", "-"]
_Positions = NDArray[np.int64]
_OPERATIONS: Final[dict[str, Callable[[_Positions, _Positions], _Positions]]] = {
    "|": np.union1d,
    "&": np.intersect1d,
    "-": np.setdiff1d,
}
# Facts of a selection that hold for a combined patch only where both parents have the same.
_SHARED: Final[dict[str, Any]] = {
    "ratio": None, "scope": "several", "seed": None, "target_modules": "several", "scores": {},
}  # fmt: skip


class PatchParent(Record):
    """How one of the patches was made that a combined one comes from: as in its ``patch.json``."""

    checksum: str
    weights: int
    rule: str
    ratio: float | None
    scope: str
    scale: float
    seed: int | None
    coupled: tuple[str, ...]
    excluded: tuple[str, ...]
    target_modules: str
    granularity: str = "weight"
    scores: dict[str, Any] = Field(default_factory=dict)
    parents: tuple[PatchParent, ...] = ()

    @classmethod
    def of(cls, patch: Patch) -> PatchParent:
        """What is kept of a patch."""
        names = [name for name in cls.model_fields if name != "weights"]
        facts = {name: getattr(patch.info, name) for name in names}
        return cls(weights=len(patch), **facts)

    @property
    def summary(self) -> str:
        """In one line."""
        ratio = "several ratios" if self.ratio is None else f"ratio {self.ratio:g}"
        whole = "" if self.granularity == "weight" else f"whole {self.granularity}s, "
        return (
            f"{whole}rule {self.rule}, {ratio} of each {self.scope}, target {self.target_modules}, "
            f"for {' and '.join(self.coupled)}: {self.weights:,} weights ({self.checksum[:12]})"
        )


def values_at(matrix: str, positions: _Positions, known: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The values at positions of a matrix, from several lists of positions and the values there.

    Raises:
        ValueError: a position is in none of the lists.
    """
    where = torch.cat([indices for indices, _ in known]).numpy()
    order = np.argsort(where, kind="stable")
    found = order[np.searchsorted(where[order], positions).clip(max=len(order) - 1)]
    if (where[found] != positions).any():
        raise ValueError(f"A position chosen in {matrix} is in none of its shortlists.")
    return torch.cat([values for _, values in known])[torch.from_numpy(found)]


def combined(first: Patch, second: Patch, sign: Sign) -> Patch:
    """The patch of the neurons of either (``|``), of both (``&``), or of the first alone (``-``).

    Raises:
        PatchMismatch: the two are of two models, or have two scales.
    """
    if first.info.model.fingerprint != second.info.model.fingerprint:
        raise PatchMismatch(
            f"The patches are of two models, {first.info.model.id} and {second.info.model.id} "
            "(their fingerprints differ), so their neurons are not the same."
        )
    if first.info.scale != second.info.scale:
        raise PatchMismatch(
            f"The patches have the scales {first.info.scale:g} and {second.info.scale:g}; bring "
            "them to one with patch.scaled(...) first."
        )
    indices, original = {}, {}
    for name in {**first.indices, **second.indices}:
        both = [one for one in (first, second) if name in one.indices]
        empty = np.empty(0, dtype=np.int64)
        sides = [
            one.indices[name].numpy() if name in one.indices else empty for one in (first, second)
        ]
        chosen = _OPERATIONS[sign](*sides)
        if len(chosen):
            indices[name] = torch.from_numpy(chosen)
            known = [(one.indices[name], one.original[name]) for one in both]
            original[name] = values_at(name, chosen, known)
    return first.changed(
        indices,
        original,
        rule=f"({first.info.rule} {sign} {second.info.rule})",
        matrices={**first.info.matrices, **second.info.matrices},
        choice={},
        words=(),
        units=(),
        granularity="weight",
        notes=tuple(dict.fromkeys((*first.info.notes, *second.info.notes))),
        parents=(PatchParent.of(first), PatchParent.of(second)),
        **_provenance(first.info, second.info, sign),
    )


def _provenance(first: PatchInfo, second: PatchInfo, sign: Sign) -> dict[str, Any]:
    """What is true of every neuron of the combined patch; all else is the parents'."""
    if sign == "-":  # all of it comes from the first
        return {}
    facts = {
        name: getattr(first, name) if getattr(first, name) == getattr(second, name) else unsaid
        for name, unsaid in _SHARED.items()
    }
    facts["coupled"] = tuple(dict.fromkeys((*first.coupled, *second.coupled)))
    everywhere = sign == "&"  # a neuron of both was excluded by what either excludes
    facts["excluded"] = tuple(
        name
        for name in dict.fromkeys((*first.excluded, *second.excluded))
        if everywhere or (name in first.excluded and name in second.excluded)
    )
    return facts
