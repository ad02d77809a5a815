"""Units of a model: MLP neurons, attention heads and experts, as the rows and columns they are."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from declutch.models.feeds import Feeds, Owners, find_feeds
from declutch.models.matrices import WeightMatrix

_ROWS, _COLUMNS = 0, 1
_LEADS_OUT = re.compile(r"(down|output)[^.]*$")  # of experts that are stacked


@dataclass(frozen=True)
class Lines:
    """The rows (axis 0) or columns (axis 1) of a matrix, and the unit that each belongs to.

    Attributes:
        owners: a number for each line; −1 where it belongs to no unit.
    """

    matrix: str
    shape: tuple[int, int]
    axis: int
    owners: Owners

    def positions(self, units: Owners) -> Owners:
        """Flat positions in the ``[out, in]`` view of all weights of these units, ascending."""
        mask = np.zeros(self.shape, dtype=bool)
        chosen = np.isin(self.owners, units)
        if self.axis == _ROWS:
            mask[chosen] = True
        else:
            mask[:, chosen] = True
        return np.flatnonzero(mask)


@dataclass(frozen=True)
class Block:
    """The units of one module: an MLP's neurons, an attention's heads, a mixture's experts.

    Attributes:
        name: the module's name in the model, with ``[e]`` for expert ``e`` of a stack.
        units: how many there are.
        lines: all that belongs to them.
        shared: matrices of the module that belong to none: several units use each of their rows.
    """

    name: str
    layer: int
    units: int
    lines: tuple[Lines, ...]
    shared: tuple[str, ...] = ()

    @property
    def sizes(self) -> Owners:
        """Weights of each unit."""
        return sum(
            (
                np.bincount(one.owners[one.owners >= 0], minlength=self.units)
                * one.shape[1 - one.axis]
                for one in self.lines
            ),
            np.zeros(self.units, dtype=np.int64),
        )


def find_blocks(
    model: nn.Module, granularity: str, matrices: Sequence[WeightMatrix]
) -> tuple[list[Block], list[str]]:
    """The units of a model, and the matrices of their kind in which none can be told.

    - ``neuron``: a hidden unit of an MLP or of one expert: its rows of the matrices that lead to
      the activation (gate and up) and its column of the one that leads out (down).
    - ``head``: an attention head: its rows of queries, and its columns of the output matrix. Rows
      of keys and values belong to it where no other head reads them; where several query heads
      share them (grouped queries) they belong to none.
    - ``expert``: all matrices of one expert of a mixture.

    Args:
        matrices: all of the model's, of any kind.
    """
    kind = "attention" if granularity == "head" else "mlp"
    of_kind = [matrix for matrix in matrices if matrix.kind == kind]
    blocks = _FINDERS[granularity](model, of_kind)
    names = Counter(block.name for block in blocks)
    blocks = [  # where a module has two ways out, each by the matrix that leads there
        replace(block, name=block.lines[-1].matrix) if names[block.name] > 1 else block
        for block in blocks
    ]
    named = {line.matrix for block in blocks for line in block.lines}
    named.update(name for block in blocks for name in block.shared)
    return blocks, [matrix.name for matrix in of_kind if matrix.name not in named]


def _neurons(model: nn.Module, matrices: Sequence[WeightMatrix]) -> list[Block]:
    found = [_block(feeds, feeds.last.shape[1]) for feeds in find_feeds(model, matrices)]
    return [block for block in found if block] + _stacked(model, matrices)


def _heads(model: nn.Module, matrices: Sequence[WeightMatrix]) -> list[Block]:
    found = [
        _block(feeds, _number_of_heads(model, feeds.last)) for feeds in find_feeds(model, matrices)
    ]
    return [block for block in found if block]


def _block(feeds: Feeds, units: int) -> Block | None:
    """The units of a module, if its last matrix's columns are so many equal runs of them."""
    last = feeds.last
    if units < 1 or last.shape[1] % units:
        return None
    owners = feeds.owners(units)
    if not feeds.whole(owners, units):
        return None
    columns = np.arange(last.shape[1]) // (last.shape[1] // units)
    lines = [Lines(one.name, one.shape, _ROWS, found) for one, found in owners.items()]
    lines.append(Lines(last.name, last.shape, _COLUMNS, columns))
    own = tuple(line for line in lines if (line.owners >= 0).any())
    shared = tuple(line.matrix for line in lines if (line.owners < 0).all())
    return Block(last.name.rpartition(".")[0], last.layer, units, own, shared)


def _number_of_heads(model: nn.Module, last: WeightMatrix) -> int:
    """What the module that the matrix belongs to says, or the config."""
    path = last.module
    while path := path.rpartition(".")[0]:
        module = model.get_submodule(path)
        for name in ("num_heads", "num_attention_heads", "n_heads", "n_head"):
            if isinstance(number := getattr(module, name, None), int):
                return number
        if re.search("attn|attention", path.rpartition(".")[2], re.IGNORECASE):
            break
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    number = getattr(text, "num_attention_heads", 0)
    return number if isinstance(number, int) else 0


def _stacked(model: nn.Module, matrices: Sequence[WeightMatrix]) -> list[Block]:
    """The neurons of experts that are stacked in one parameter, which no module applies alone."""
    experts: dict[tuple[str, int], list[WeightMatrix]] = defaultdict(list)
    for matrix in matrices:
        if matrix.expert is not None:
            experts[_parent(matrix), matrix.expert].append(matrix)
    blocks = []
    for (parent, expert), pair in experts.items():
        *first_of_two, last = sorted(pair, key=lambda one: bool(_LEADS_OUT.search(one.name)))
        units = last.shape[1]
        if len(first_of_two) != 1 or not _LEADS_OUT.search(last.name):
            continue
        (first,) = first_of_two
        if first.shape[1] != last.shape[0] or first.shape[0] not in (units, 2 * units):
            continue
        # Gate and up in one: first all gates, or gate and up of each unit in turn.
        module = model.get_submodule(parent)
        in_turn = first.shape[0] > units and not getattr(module, "is_concatenated", True)
        rows = np.arange(first.shape[0])
        owners = rows // 2 if in_turn else rows % units
        lines = (
            Lines(first.name, first.shape, _ROWS, owners),
            Lines(last.name, last.shape, _COLUMNS, np.arange(units)),
        )
        blocks.append(Block(f"{parent}[{expert}]", first.layer, units, lines))
    return blocks


def _experts(_: nn.Module, matrices: Sequence[WeightMatrix]) -> list[Block]:
    members: dict[str, list[tuple[int, WeightMatrix]]] = defaultdict(list)
    for matrix in matrices:
        if matrix.expert is not None:
            members[_parent(matrix)].append((matrix.expert, matrix))
        elif match := re.fullmatch(r"(.*\bexperts)\.(\d+)\..*", matrix.name):
            members[match[1]].append((int(match[2]), matrix))
    return [
        Block(
            name,
            found[0][1].layer,
            1 + max(expert for expert, _ in found),
            tuple(
                Lines(one.name, one.shape, _ROWS, np.full(one.shape[0], expert))
                for expert, one in found
            ),
        )
        for name, found in members.items()
    ]


def _parent(matrix: WeightMatrix) -> str:
    return matrix.name.rpartition(".")[0]


_FINDERS = {"neuron": _neurons, "head": _heads, "expert": _experts}
