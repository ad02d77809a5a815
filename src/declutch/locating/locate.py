"""From scores to a patch; of single weights without the model."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from declutch.data.names import CONTROL, contrast_of
from declutch.errors import SettingsError
from declutch.locating.request import (
    CONTRASTING,
    RULES,
    Choice,
    Request,
    Rule,
    Selection,
    Table,
)
from declutch.locating.tops import nouns, positive, ratio_notes, top_positions
from declutch.locating.units import Units, refuse_other_model
from declutch.models.identity import MatrixInfo
from declutch.models.targets import target_filter
from declutch.patching import Patch, PatchInfo
from declutch.ranges import Seed, checked
from declutch.registry import failed, split_name
from declutch.scoring.shortlists import Scores
from declutch.settings import RULE_OPTIONS, LocateSettings, with_options


def locate(
    scores: Scores,
    couple: Sequence[str],
    exclude: Sequence[str] = (),
    *,
    settings: LocateSettings | None = None,
    target_modules: str | None = None,
    seed: Seed = 0,
    model: nn.Module | None = None,
    **options: Any,
) -> Patch:
    """Choose neurons and make the patch that suppresses them.

    Args:
        scores: what :func:`declutch.score` gave.
        couple: two or more dimensions (``released`` takes the positions of the first); of
            ``balanced`` and ``contrast`` one will do.
        exclude: dimensions whose important neurons are left alone.
        settings: how; and fields of it as keywords (``ratio=1e-5``), which win.
        target_modules: narrower than what was scored, if given.
        seed: of the ``random`` rule.
        model: that was scored; needed, and left as it is, where whole units are chosen
            (``granularity``): the patch holds the values of all their weights.

    Raises:
        SettingsError: an option is wrong, or the ratio selects nothing in any matrix; or units are
            asked for, and the model, a matrix or the sums of the scores are missing.
        PatchMismatch: the model is not the one that was scored.
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
    choose, argument = find_rule(rule, settings)
    check_dimensions(couple, exclude, rule)
    scored, matrices = scores, _narrow(scores, target_modules)
    target = target_modules or str(scores.info.settings["target_modules"])
    units = _units(model, settings, scores, matrices, target)
    if units:
        scores = units.ranked(scores)
        matrices = scores.info.matrices
    notes = ratio_notes(matrices, ratio, scope, settings.granularity)
    named = [argument] if argument and _parameter(choose) == "dimension" else []
    statistics = {key: info.statistic for key, info in scores.info.dimensions.items()}

    def top_of(key: str) -> Selection:
        top = top_positions(scores.dimension(key), matrices, ratio, scope)
        return top if statistics[key] == "abs" else positive(top, scores.dimension(key))

    used = dict.fromkeys((*couple, *exclude, *named))
    tops = {dimension: top_of(dimension) for dimension in used}
    # Until format 2 a contrasted dimension had its contrast alone, under its own name.
    contrasts = {
        dimension: top_of(key)
        for dimension in couple
        for key in (contrast_of(dimension), dimension)
        if statistics.get(key) == "contrast"
    }
    control = {matrix: scores.shortlists[CONTROL][matrix].indices.numpy() for matrix in matrices}
    request = Request(
        tops, couple, exclude, control, seed, statistics, contrasts,
        _table(scores, matrices, units),
    )  # fmt: skip
    options = {name: getattr(settings, name) for name in _options(choose)}
    given = [argument] if argument else []
    chosen = RULES.call(rule, choose, Mapping, request, *given, **options)
    selection = _checked(rule, chosen, scores, matrices)
    if not selection:
        noun, places = nouns(settings.granularity)
        notes.append(
            f"No {noun} of any of {len(matrices)} {places} is chosen by «{rule}» at ratio {ratio:g}"
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
        target_modules=target,
        matrices={
            name: one
            for name, one in scored.info.matrices.items()
            if name in (units.matrices if units else matrices)
        },
        granularity=settings.granularity,
        units=units.chosen(selection, scores, used) if units else (),
        scores={
            "settings": scores.info.settings,
            "data": {n: scores.info.dimensions[n].sha256 for n in tops},
        },
        choice=dict(chosen.facts) if isinstance(chosen, Choice) else {},
        words=chosen.words if isinstance(chosen, Choice) else (),
        notes=(*notes, *(units.notes if units else ())),
    )
    if units and model is not None:
        return Patch.from_model(info, units.weights(selection), model)
    return Patch.from_selection(info, selection, scores.shortlists)


def _units(
    model: nn.Module | None,
    settings: LocateSettings,
    scores: Scores,
    matrices: Collection[str],
    target: str,
) -> Units | None:
    """What is chosen from in place of single weights, if anything."""
    if settings.granularity == "weight":
        return None
    if model is None:
        raise SettingsError(
            f"--granularity {settings.granularity} needs the model that was scored "
            f"({scores.info.model.id}): the patch holds the values of all weights of its units. "
            "Give it as model=."
        )
    refuse_other_model(model, scores)
    return Units.of(model, settings.granularity, matrices, target)


def _table(scores: Scores, matrices: Collection[str], units: Units | None) -> Table | None:
    """The candidates of the matrices, where they were gathered."""
    if not scores.candidates:
        return None
    found = [scores.candidates[matrix] for matrix in matrices]
    sizes = [units.blocks[name].sizes for name in matrices] if units else []
    return Table(
        {name: one.indices.numpy() for name, one in zip(matrices, found, strict=True)},
        {
            key: np.concatenate([one.scores[key].numpy() for one in found], dtype=np.float64)
            for key in scores.info.gathered
        },
        np.concatenate(sizes) if sizes else None,
    )


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


def find_rule(reference: str, settings: LocateSettings) -> tuple[Rule, str | None]:
    """A rule by its name, and the argument that stands after the colon.

    Raises:
        SettingsError: there is none of that name, it takes an argument that is missing, or none, or
            an option is given that it does not take.
    """
    name, argument = split_name(reference)
    rule = RULES.get(name)
    wanted = _parameter(rule)
    if bool(argument) != bool(wanted) or argument == "":
        form = f"{name}:{wanted.upper()}" if wanted else name
        raise SettingsError(f"--rule «{reference}» is unknown; write {form}.")
    taken = _options(rule)
    for option in RULE_OPTIONS:
        if getattr(settings, option) is not None and option not in taken:
            raise SettingsError(f"--{option.replace('_', '-')} does not go with --rule {name}.")
    if unknown := [option for option in taken if not hasattr(settings, option)]:
        raise SettingsError(f"--rule {name} takes «{unknown[0]}», and there is no such option.")
    return rule, argument


def _parameter(rule: Rule) -> str | None:
    """What the argument is called that a rule takes beside the request, if any."""
    parameters = list(inspect.signature(rule).parameters.values())[1:]
    return next((one.name for one in parameters if one.kind is not one.KEYWORD_ONLY), None)


def _options(rule: Rule) -> list[str]:
    """The settings that a rule takes."""
    parameters = inspect.signature(rule).parameters.values()
    return [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]


def check_dimensions(couple: Sequence[str], exclude: Sequence[str], rule: str = "coupled") -> None:
    """See that two or more dimensions are coupled (one, of good against bad), and none excluded.

    Raises:
        SettingsError: it is not so.
    """
    if len(set(couple)) < (1 if rule in CONTRASTING else 2):
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
