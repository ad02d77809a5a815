"""Whole units in the place of single weights: ranked by the sums of their weights' scores.

Rules choose among units as they do among weights. To them a module is what a matrix was, and each
of its units one entry; what they choose becomes all weights of these units.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from declutch.data.names import CONTROL, dimension_of
from declutch.errors import PatchMismatch, SettingsError
from declutch.locating.request import Selection
from declutch.models.fingerprint import fingerprint
from declutch.models.identity import MatrixInfo
from declutch.models.matrices import find_matrices
from declutch.models.units import Block, find_blocks
from declutch.patching.units import ChosenUnit
from declutch.scoring.shortlists import Candidates, Scores, Shortlist

_KINDS = {"neuron": "mlp", "head": "attention", "expert": "mlp"}


@dataclass(frozen=True)
class Units:
    """The units of some matrices.

    Attributes:
        blocks: by name the modules that they are units of.
        notes: what to tell a user of matrices in which none could be told.
    """

    granularity: str
    blocks: Mapping[str, Block]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, model: nn.Module, granularity: str, matrices: Collection[str], target: str
    ) -> Units:
        """Those of a model that lie in these matrices.

        Args:
            matrices: names of those that were scored and are targeted.
            target: which, for the message.

        Raises:
            SettingsError: there are none, or the matrices hold a part of a unit only.
        """
        found, untold = find_blocks(model, granularity, find_matrices(model, "all").matrices)
        kept = {}
        for block in found:
            names = {line.matrix for line in block.lines}
            if missing := names - set(matrices):
                if len(missing) < len(names):
                    raise SettingsError(
                        f"--granularity {granularity} needs all matrices of {block.name}, and "
                        f"{', '.join(sorted(missing))} is not among those scored or targeted "
                        f"(«{target}»). Score with --target-modules {_KINDS[granularity]} or all, "
                        "or widen --target-modules."
                    )
            else:
                kept[block.name] = block
        if not found:
            raise SettingsError(
                f"--granularity {granularity}: no {granularity}s can be told in this model. Either "
                "it has none, or its matrices are used in a way that declutch does not know "
                "(docs/granularity.md). Give another --granularity."
            )
        if not kept:
            raise SettingsError(
                f"--granularity {granularity}: none of the {len(found)} modules that have "
                f"{granularity}s is among the matrices scored or targeted («{target}»). Score with "
                f"--target-modules {_KINDS[granularity]} or all."
            )
        notes = []
        if left := [name for name in untold if name in matrices]:
            notes.append(
                f"{len(left)} matrices ({left[0]}, …) are part of no {granularity} that can be "
                "told, and are left as they are"
            )
        return cls(granularity, kept, notes)

    @property
    def infos(self) -> dict[str, MatrixInfo]:
        """What rules and ratios are told of the modules: a row for each unit."""
        return {
            block.name: MatrixInfo(
                shape=(block.units, 1), layer=block.layer, kind=_KINDS[self.granularity]
            )
            for block in self.blocks.values()
        }

    @property
    def matrices(self) -> set[str]:
        """Names of the matrices that units lie in."""
        return {line.matrix for block in self.blocks.values() for line in block.lines}

    def ranked(self, scores: Scores) -> Scores:
        """The scores of units: shortlists of all of them, by module.

        Raises:
            SettingsError: the scores are of before sums were kept.
        """
        dimensions = scores.dimensions
        gathered = dict.fromkeys(dimensions, 0.0)
        info = scores.info.model_copy(update={"matrices": self.infos, "gathered": gathered})
        made = Scores(info, {name: {} for name in (*dimensions, CONTROL)})
        for block in self.blocks.values():
            every = torch.arange(block.units)
            nothing = torch.zeros(block.units)
            made.shortlists[CONTROL][block.name] = Shortlist(every, nothing, nothing)
            values = {
                name: _sums(name, block, scores.shortlists[name], self.granularity)
                for name in dimensions
            }
            for name, one in values.items():
                order = one.argsort(descending=True, stable=True)
                made.shortlists[name][block.name] = Shortlist(order, one[order], nothing)
            made.candidates[block.name] = Candidates(every, values)
        return made

    def weights(self, selection: Selection) -> Selection:
        """All weights of the units chosen, by matrix."""
        return {
            line.matrix: positions
            for name, units in selection.items()
            for line in self.blocks[name].lines
            if len(positions := line.positions(units))
        }

    def chosen(
        self, selection: Selection, ranked: Scores, dimensions: Collection[str]
    ) -> tuple[ChosenUnit, ...]:
        """What is recorded of the units chosen; of scores those of these dimensions."""
        records = []
        for name, units in selection.items():
            block, values = self.blocks[name], ranked.candidates[name].scores
            sizes = block.sizes
            records += [
                ChosenUnit(
                    block=name,
                    layer=block.layer,
                    unit=unit,
                    weights=int(sizes[unit]),
                    scores={
                        key: float(one[unit])
                        for key, one in values.items()
                        if dimension_of(key) in dimensions
                    },
                )
                for unit in sorted(units.tolist())
            ]
        return tuple(records)


def ranked_in(model: nn.Module, granularity: str, target: str) -> dict[str, MatrixInfo]:
    """What a model's weights or units will be ranked in: matrices, or modules.

    Raises:
        SettingsError: see :meth:`Units.of`.
    """
    matrices = find_matrices(model, target).info()
    if granularity == "weight":
        return matrices
    return Units.of(model, granularity, matrices, target).infos


def refuse_other_model(model: nn.Module, scores: Scores) -> None:
    """See that a model is the one that was scored.

    Raises:
        PatchMismatch: it is another.
    """
    if (found := fingerprint(model)) != scores.info.model.fingerprint:
        raise PatchMismatch(
            f"The scores are of {scores.info.model.id}, whose fingerprint is "
            f"{scores.info.model.fingerprint[:12]}, and this model's is {found[:12]}: another "
            "model, a changed copy of it, or a narrower dtype. Give the model that was scored."
        )


def _sums(name: str, block: Block, shortlists: Mapping[str, Shortlist], granularity: str) -> Tensor:
    """What each unit of a module scores: the sum over its lines, float32."""
    total: NDArray[np.float64] = np.zeros(block.units)
    for line in block.lines:
        shortlist = shortlists[line.matrix]
        sums = (shortlist.rows, shortlist.columns)[line.axis]
        if sums is None:
            raise SettingsError(
                f"--granularity {granularity} needs the sums by row and column that scoring keeps "
                f"since format 4 of scores.json, and the scores of {name} have none. Score again "
                "into another folder; --granularity weight works with these."
            )
        owned = line.owners >= 0
        values = sums.numpy().astype(np.float64)[owned]
        total += np.bincount(line.owners[owned], values, minlength=block.units)
    return torch.from_numpy(total).float()
