"""The top positions of a dimension, and what a ratio comes to in the matrices of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import floor

import numpy as np

from declutch.errors import SettingsError, ShortlistTooShort
from declutch.locating.request import Selection
from declutch.models.identity import MatrixInfo
from declutch.scoring.shortlists import Shortlist
from declutch.settings import Scope


def important(numel: int, ratio: float) -> int:
    """``k = floor(r · numel)``, with the ratio taken as it is written in decimal."""
    return floor(Fraction(str(ratio)) * numel)


def top_positions(
    shortlists: Mapping[str, Shortlist],
    matrices: Mapping[str, MatrixInfo],
    ratio: float,
    scope: Scope = "matrix",
) -> Selection:
    """The top positions of one dimension in every matrix, highest score first.

    ``k`` is counted and filled within a matrix, within all matrices of a layer, or within all.

    Raises:
        ShortlistTooShort: the ratio reaches past what the shortlists hold.
    """
    if scope == "matrix":
        tops = {}
        for name, info in matrices.items():
            k = important(info.numel, ratio)
            held = len(shortlists[name].indices)
            if k > held:
                raise _too_short(name, k, held, info.numel, ratio)
            tops[name] = shortlists[name].top(k)
        return tops
    groups: dict[int, list[str]] = {}
    for name, info in matrices.items():
        groups.setdefault(info.layer if scope == "layer" else 0, []).append(name)
    tops = {}
    for names in groups.values():
        tops.update(_top_of_group(names, shortlists, matrices, ratio))
    return tops


def positive(tops: Selection, shortlists: Mapping[str, Shortlist]) -> Selection:
    """What of the tops of a signed dimension has a score above zero."""
    return {
        matrix: top[shortlists[matrix].scores.numpy()[: len(top)] > 0]
        for matrix, top in tops.items()
    }


def _top_of_group(
    names: Sequence[str],
    shortlists: Mapping[str, Shortlist],
    matrices: Mapping[str, MatrixInfo],
    ratio: float,
) -> Selection:
    k = important(sum(matrices[name].numel for name in names), ratio)
    scores = np.concatenate([shortlists[name].scores.numpy() for name in names])
    owner = np.repeat(np.arange(len(names)), [len(shortlists[name].scores) for name in names])
    if k > len(scores):
        total = sum(matrices[name].numel for name in names)
        raise _too_short(f"{names[0]} and {len(names) - 1} others", k, len(scores), total, ratio)
    # Stable: equal scores keep the order of matrices and positions.
    order = np.argsort(-scores, kind="stable")[:k]
    counts = np.bincount(owner[order], minlength=len(names))
    tops = {}
    for name, count in zip(names, counts, strict=True):
        held = len(shortlists[name].indices)
        if count == held < matrices[name].numel:
            # Its next neuron, which is not on disk, might outrank one that was taken elsewhere.
            raise _too_short(name, int(count) + 1, held, matrices[name].numel, ratio)
        tops[name] = shortlists[name].top(int(count))
    return tops


def _too_short(name: str, k: int, held: int, numel: int, ratio: float) -> ShortlistTooShort:
    return ShortlistTooShort(
        f"Ratio {ratio:g} needs {k:,} neurons of {name}, and its shortlist holds {held:,} of "
        f"{numel:,} ({held / numel:.1e}). Give a smaller --ratio, or score again with "
        f"--shortlist {_round_up(k / numel):.1e} or more."
    )


def nouns(granularity: str) -> tuple[str, str]:
    """What is chosen, one of it, and what it is chosen in, several."""
    if granularity == "weight":  # the paper calls it a neuron
        return "neuron", "matrices"
    return granularity, "modules"


def ratio_notes(
    matrices: Mapping[str, MatrixInfo], ratio: float, scope: Scope, granularity: str = "weight"
) -> list[str]:
    """What to tell a user of matrices (of units: modules) in which the ratio selects nothing.

    Raises:
        SettingsError: it selects nothing anywhere.
    """
    sizes: dict[object, int] = {}
    for name, info in matrices.items():
        key = {"matrix": name, "layer": info.layer, "model": 0}[scope]
        sizes[key] = sizes.get(key, 0) + info.numel
    empty = [size for size in sizes.values() if important(size, ratio) == 0]
    if not empty:
        return []
    noun, places = nouns(granularity)
    unit = {"matrix": places, "layer": "layers", "model": "models"}[scope]
    smallest = _round_up(1 / max(empty))
    fact = (
        f"at ratio {ratio:g}, k = floor(ratio · numel) is 0 in {len(empty)} of {len(sizes)} {unit} "
        f"({min(empty):,} to {max(empty):,} {noun}s each)"
    )
    if len(empty) == len(sizes):
        raise SettingsError(
            f"Nothing would be selected: {fact}. The smallest ratio that selects something here "
            f"is {smallest:.2g}"
            + ("; a hundred times that gives a k of about 100." if granularity == "weight" else ".")
        )
    return [f"{fact}; {_round_up(1 / min(empty)):.2g} would reach all of them"]


def _round_up(value: float) -> float:
    """Two digits, never below the value."""
    text = f"{value:.1e}"
    digits, exponent = text.split("e")
    return float(text) if float(text) >= value else float(f"{float(digits) + 0.1:.1f}e{exponent}")
