"""Choose neurons from shortlists: pure functions, no model needed.

A rule is one function in :data:`RULES`; it sees the top positions of the dimensions and answers
with positions by matrix. Adding a rule touches nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce
from math import floor
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from declutch.data.names import CONTROL
from declutch.errors import SettingsError, ShortlistTooShort
from declutch.models.identity import MatrixInfo
from declutch.models.targets import target_filter
from declutch.patching import Patch, PatchInfo
from declutch.ranges import Scale, Seed, Share, check_value
from declutch.scoring.shortlists import Scores, Shortlist

log = logging.getLogger("declutch")

Positions = NDArray[np.int64]
Selection = dict[str, Positions]
Scope = Literal["matrix", "layer", "model"]


@dataclass(frozen=True)
class Request:
    """What a rule chooses from.

    Attributes:
        tops: for each dimension and matrix, the top positions, highest score first.
        couple: the coupled dimensions, in the order given.
        exclude: the excluded dimensions.
        control: for each matrix, positions in random order.
        argument: what stands after the colon in the rule's name.
        statistics: how each dimension was scored: ``abs``, ``signed`` or ``contrast``.
    """

    tops: Mapping[str, Selection]
    couple: Sequence[str]
    exclude: Sequence[str]
    control: Selection = field(default_factory=dict)
    argument: str = ""
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


def coupled(request: Request) -> Selection:
    """Important for every coupled dimension and for no excluded one (the paper, section 3.2)."""
    return {
        matrix: np.setdiff1d(
            reduce(np.intersect1d, (request.tops[name][matrix] for name in request.couple)),
            request.excluded(matrix),
        )
        for matrix in request.matrices
    }


def union(request: Request) -> Selection:
    """Important for any coupled dimension and for no excluded one."""
    return {
        matrix: np.setdiff1d(
            reduce(np.union1d, (request.tops[name][matrix] for name in request.couple)),
            request.excluded(matrix),
        )
        for matrix in request.matrices
    }


def single(request: Request) -> Selection:
    """Important for one dimension, named after the colon, and for no excluded one."""
    if request.argument not in request.tops:
        raise SettingsError(
            f"--rule single:{request.argument} names a dimension that is not among "
            f"{', '.join(request.tops)}. Write for example single:{request.couple[0]}."
        )
    top = request.tops[request.argument]
    return {
        matrix: np.setdiff1d(top[matrix], request.excluded(matrix)) for matrix in request.matrices
    }


def released(request: Request) -> Selection:
    """What the code published with the paper selects, which is not what the paper says.

    Each coupled dimension's top list is sorted by position and gets a mask «not in an excluded
    list»; the masks are ANDed place by place, although entry n of one list and entry n of another
    are different neurons; the first dimension's entries where the AND holds are taken. In the
    published runs the first dimension is privacy.
    """
    selection = {}
    for matrix in request.matrices:
        lists = [np.sort(request.tops[name][matrix]) for name in request.couple]
        shortest = min(len(one) for one in lists)
        excluded = request.excluded(matrix)
        masks = [~np.isin(one[:shortest], excluded) for one in lists]
        selection[matrix] = lists[0][:shortest][np.logical_and.reduce(masks)]
    return selection


def random(request: Request) -> Selection:
    """The control: in each matrix as many positions as :func:`coupled`, at random."""
    selection = {}
    for matrix, positions in coupled(request).items():
        pool = np.setdiff1d(request.control[matrix], positions)
        generator = np.random.default_rng([request.seed, *matrix.encode()])
        if len(pool) < len(positions):
            raise ShortlistTooShort(
                f"The random control needs {len(positions):,} neurons of {matrix} beside the "
                f"coupled ones, and the scores hold {len(pool):,}. Give a smaller --ratio, or "
                "score again with a larger --shortlist."
            )
        selection[matrix] = np.sort(generator.choice(pool, len(positions), replace=False))
    return selection


def contrast(request: Request) -> Selection:
    """Against the bad response on every coupled dimension, and important for no excluded one.

    A coupled dimension is scored on good and bad responses, signed: to first order, zeroing a
    neuron of high score lowers the loss of the good responses against that of the bad ones. An
    excluded dimension is scored by absolute importance, whichever way a neuron acts.
    """
    wanted = {**dict.fromkeys(request.couple, "contrast"), **dict.fromkeys(request.exclude, "abs")}
    for name, statistic in wanted.items():
        if (found := request.statistics.get(name, "abs")) != statistic:
            raise SettingsError(
                f"--rule contrast needs {name} scored by «{statistic}», and it was scored by "
                f"«{found}». Score again with --contrast for each coupled dimension (its data need "
                "a bad_response column) and --statistic abs."
            )
    return coupled(request)


RULES: dict[str, Callable[[Request], Selection]] = {
    "coupled": coupled,
    "released": released,
    "single": single,
    "union": union,
    "random": random,
    "contrast": contrast,
}


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


def _positive(tops: Selection, shortlists: Mapping[str, Shortlist]) -> Selection:
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


def locate(
    scores: Scores,
    couple: Sequence[str],
    exclude: Sequence[str] = (),
    *,
    ratio: float = 5e-7,
    rule: str = "coupled",
    scope: Scope = "matrix",
    target_modules: str | None = None,
    scale: float = 0.0,
    seed: int = 0,
) -> Patch:
    """Choose neurons and make the patch that suppresses them.

    Args:
        scores: what :func:`declutch.score` gave.
        couple: two or more dimensions (``released`` takes the positions of the first).
        exclude: dimensions whose important neurons are left alone.
        ratio: fraction of a matrix taken as important on a dimension.
        rule: ``coupled``, ``released``, ``single:<dimension>``, ``union``, ``random`` or
            ``contrast``.
        scope: whether a ratio is of each ``matrix``, each ``layer`` or the ``model``.
        target_modules: narrower than what was scored, if given.
        scale: what the weights are multiplied by.
        seed: of the ``random`` rule.

    Raises:
        SettingsError: an option is wrong, or the ratio selects nothing in any matrix.
        ShortlistTooShort: the ratio reaches past the shortlists.
        DataError: a dimension was not scored.
    """
    name, _, argument = rule.partition(":")
    check_options(couple, exclude, ratio=ratio, rule=rule, scope=scope)
    check_value("scale", Scale, scale)
    check_value("seed", Seed, seed)
    matrices = _narrow(scores, target_modules)
    notes = ratio_notes(matrices, ratio, scope)
    tops = {
        dimension: top_positions(scores.dimension(dimension), matrices, ratio, scope)
        for dimension in dict.fromkeys((*couple, *exclude, *([argument] if argument else [])))
    }
    statistics = {dimension: scores.info.dimensions[dimension].statistic for dimension in tops}
    for dimension, statistic in statistics.items():
        if statistic != "abs":
            tops[dimension] = _positive(tops[dimension], scores.dimension(dimension))
    control = {matrix: scores.shortlists[CONTROL][matrix].indices.numpy() for matrix in matrices}
    request = Request(tops, couple, exclude, control, argument, seed, statistics)
    selection = {m: positions for m, positions in RULES[name](request).items() if len(positions)}
    if not selection:
        notes.append(
            f"No neuron of any of {len(matrices)} matrices is chosen by «{rule}» at ratio {ratio:g}"
        )
    info = PatchInfo(
        model=scores.info.model,
        rule=rule,
        ratio=ratio,
        scope=scope,
        scale=scale,
        seed=seed,
        coupled=tuple(couple),
        excluded=tuple(exclude),
        target_modules=target_modules or str(scores.info.settings["target_modules"]),
        matrices=matrices,
        scores={
            "settings": scores.info.settings,
            "data": {n: scores.info.dimensions[n].sha256 for n in tops},
        },
        notes=tuple(notes),
    )
    return Patch.from_selection(info, selection, scores.shortlists)


def check_options(
    couple: Sequence[str], exclude: Sequence[str], *, ratio: float, rule: str, scope: str
) -> None:
    """See that options are right before anything is computed.

    Raises:
        SettingsError: one is not.
    """
    name, _, argument = rule.partition(":")
    if name not in RULES or (name == "single") != bool(argument) or rule.endswith(":"):
        raise SettingsError(
            f"--rule «{rule}» is unknown; give one of "
            f"{', '.join(r if r != 'single' else 'single:<dimension>' for r in RULES)}."
        )
    if len(set(couple)) < 2:
        raise SettingsError(
            f"Two or more dimensions are coupled, and {len(set(couple))} was given "
            f"({', '.join(couple) or 'none'}). Add another --couple."
        )
    if both := set(couple) & set(exclude):
        raise SettingsError(f"{', '.join(sorted(both))}: both coupled and excluded. Choose one.")
    check_value("ratio", Share, ratio)
    if scope not in get_args(Scope):
        raise SettingsError(f"--scope «{scope}» is unknown; give {', '.join(get_args(Scope))}.")


def _narrow(scores: Scores, target_modules: str | None) -> dict[str, MatrixInfo]:
    if target_modules is None:
        return dict(scores.info.matrices)
    covered = target_filter(target_modules)
    matrices = {n: i for n, i in scores.info.matrices.items() if covered(n, i.kind)}
    if not matrices:
        raise SettingsError(
            f"--target-modules «{target_modules}» covers none of the {len(scores.info.matrices)} "
            f"scored matrices (scored with «{scores.info.settings['target_modules']}»)."
        )
    return matrices


def ratio_notes(matrices: Mapping[str, MatrixInfo], ratio: float, scope: Scope) -> list[str]:
    """What to tell a user of matrices in which the ratio selects nothing.

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
    unit = {"matrix": "matrices", "layer": "layers", "model": "models"}[scope]
    smallest = 1 / max(empty)
    fact = (
        f"at ratio {ratio:g}, k = floor(ratio · numel) is 0 in {len(empty)} of {len(sizes)} {unit} "
        f"({min(empty):,} to {max(empty):,} neurons each)"
    )
    if len(empty) == len(sizes):
        raise SettingsError(
            f"Nothing would be selected: {fact}. The smallest ratio that selects something here "
            f"is {_round_up(smallest):.2g}; a hundred times that gives a k of about 100."
        )
    return [f"{fact}; {_round_up(1 / min(empty)):.2g} would reach all of them"]


def _round_up(value: float) -> float:
    """Two digits, never below the value."""
    text = f"{value:.1e}"
    digits, exponent = text.split("e")
    return float(text) if float(text) >= value else float(f"{float(digits) + 0.1:.1f}e{exponent}")
