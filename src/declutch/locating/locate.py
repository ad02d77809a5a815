"""From scores to a patch: pure functions, no model needed."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from declutch.data.names import CONTROL
from declutch.errors import SettingsError
from declutch.locating.request import RULES, Request, Rule, Selection
from declutch.locating.tops import positive, ratio_notes, top_positions
from declutch.models.identity import MatrixInfo
from declutch.models.targets import target_filter
from declutch.patching import Patch, PatchInfo
from declutch.ranges import Seed, checked
from declutch.registry import failed, split_name
from declutch.scoring.shortlists import Scores
from declutch.settings import LocateSettings, with_options


def locate(
    scores: Scores,
    couple: Sequence[str],
    exclude: Sequence[str] = (),
    *,
    settings: LocateSettings | None = None,
    target_modules: str | None = None,
    seed: Seed = 0,
    **options: Any,
) -> Patch:
    """Choose neurons and make the patch that suppresses them.

    Args:
        scores: what :func:`declutch.score` gave.
        couple: two or more dimensions (``released`` takes the positions of the first).
        exclude: dimensions whose important neurons are left alone.
        settings: how; and fields of it as keywords (``ratio=1e-5``), which win.
        target_modules: narrower than what was scored, if given.
        seed: of the ``random`` rule.

    Raises:
        SettingsError: an option is wrong, or the ratio selects nothing in any matrix.
        ShortlistTooShort: the ratio reaches past the shortlists.
        DataError: a dimension was not scored.
    """
    settings = with_options(LocateSettings, settings, options)
    seed = checked("seed", Seed, seed)
    couple = checked("couple", tuple[str, ...], couple)
    exclude = checked("exclude", tuple[str, ...], exclude)
    target_modules = checked("target_modules", str | None, target_modules)
    if not isinstance(scores, Scores):
        raise SettingsError(
            f"The scores must be Scores, not {type(scores).__name__}; Scores.load reads a folder."
        )
    ratio, rule, scope = settings.ratio, settings.rule, settings.scope
    choose, argument = find_rule(rule)
    check_dimensions(couple, exclude)
    matrices = _narrow(scores, target_modules)
    notes = ratio_notes(matrices, ratio, scope)
    named = [argument] if argument and _parameter(choose) == "dimension" else []
    tops = {
        dimension: top_positions(scores.dimension(dimension), matrices, ratio, scope)
        for dimension in dict.fromkeys((*couple, *exclude, *named))
    }
    statistics = {dimension: scores.info.dimensions[dimension].statistic for dimension in tops}
    for dimension, statistic in statistics.items():
        if statistic != "abs":
            tops[dimension] = positive(tops[dimension], scores.dimension(dimension))
    control = {matrix: scores.shortlists[CONTROL][matrix].indices.numpy() for matrix in matrices}
    request = Request(tops, couple, exclude, control, seed, statistics)
    chosen = RULES.call(rule, choose, Mapping, request, *([argument] if argument else []))
    selection = _checked(rule, chosen, scores, matrices)
    if not selection:
        notes.append(
            f"No neuron of any of {len(matrices)} matrices is chosen by «{rule}» at ratio {ratio:g}"
        )
    info = PatchInfo(
        model=scores.info.model,
        rule=rule,
        ratio=ratio,
        scope=scope,
        scale=settings.scale,
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


def _checked(
    rule: str, chosen: Mapping[Any, Any], scores: Scores, matrices: Collection[str]
) -> Selection:
    """What was chosen, by matrix, where anything was; a rule may be another's.

    Raises:
        SettingsError: that is no position whose score, and so its original value, is known.
    """
    selection = {}
    for matrix, given in chosen.items():
        if matrix not in matrices:
            raise SettingsError(f"--rule {rule} chooses in {matrix!r:.100}, which is not scored.")
        try:
            positions = np.asarray(given)
        except (TypeError, ValueError) as error:
            raise SettingsError(f"--rule {rule}, {matrix}: {failed(error)}") from error
        if not positions.size and positions.ndim == 1:
            continue
        known = np.concatenate([one[matrix].indices.numpy() for one in scores.shortlists.values()])
        if (
            positions.ndim != 1
            or positions.dtype.kind not in "iu"
            or len(np.unique(positions)) < len(positions)
            or not np.isin(positions, known).all()
        ):
            raise SettingsError(
                f"--rule {rule} chooses {given!r:.100} in {matrix}, where different positions out "
                "of the shortlists are needed, as whole numbers (docs/extend.md)."
            )
        selection[matrix] = positions.astype(np.int64)
    return selection


def find_rule(reference: str) -> tuple[Rule, str | None]:
    """A rule by its name, and the argument that stands after the colon.

    Raises:
        SettingsError: there is none of that name, or it takes an argument that is missing, or none.
    """
    name, argument = split_name(reference)
    rule = RULES.get(name)
    wanted = _parameter(rule)
    if bool(argument) != bool(wanted) or argument == "":
        form = f"{name}:{wanted.upper()}" if wanted else name
        raise SettingsError(f"--rule «{reference}» is unknown; write {form}.")
    return rule, argument


def _parameter(rule: Rule) -> str | None:
    """What the argument is called that a rule takes beside the request, if any."""
    return next(iter(list(inspect.signature(rule).parameters)[1:]), None)


def check_dimensions(couple: Sequence[str], exclude: Sequence[str]) -> None:
    """See that two or more dimensions are coupled, and none of them excluded.

    Raises:
        SettingsError: it is not so.
    """
    if len(set(couple)) < 2:
        raise SettingsError(
            f"Two or more dimensions are coupled, and {len(set(couple))} was given "
            f"({', '.join(couple) or 'none'}). Add another --couple."
        )
    if both := set(couple) & set(exclude):
        raise SettingsError(f"{', '.join(sorted(both))}: both coupled and excluded. Choose one.")


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
