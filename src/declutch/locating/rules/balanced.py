"""``balanced``: the most for the dimension that gains least, within limits (docs/balanced.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from declutch.data.names import HARMLESS, contrast_of, dimension_of
from declutch.errors import SettingsError
from declutch.locating.programme import Floats, Mask, Programme, Solution, rounded, solve
from declutch.locating.request import RULES, Choice, Request, Table
from declutch.locating.rules.coupled import coupled

_AGAIN = (
    "Score again with this version and --contrast for each coupled dimension (its data need a "
    "bad_response column), --statistic abs and the excluded dimensions in the same command."
)


@RULES.register("balanced")
def balanced(
    request: Request,
    *,
    weights: int | None = None,
    budget: float | None = None,
    harmless_weight: float | None = None,
) -> Choice:
    """Raise the margins of all coupled dimensions, the smallest gain first.

    A linear programme over all candidates. The gain of a dimension is the sum of its contrast
    scores, to first order what its margin rises by when the weights are zeroed, in units of its
    spread: the root mean square of its scores at the candidates.

    Args:
        weights: the most weights to choose; by default as many as :func:`coupled` does.
        budget: absolute importance for each excluded dimension, in units of what :func:`coupled`
            spends; 1 by default.
        harmless_weight: the share of the smallest gain that harmless prompts must gain at least; 0
            by default: they lose nothing.

    Raises:
        SettingsError: the scores lack something, or no choice raises every dimension.
    """
    table = _table(request, harmless_weight)
    gaining = [contrast_of(name) for name in request.couple]
    demands = [1.0] * len(gaining)
    if contrast_of(HARMLESS) in table.values and HARMLESS not in request.couple:
        gaining.append(contrast_of(HARMLESS))
        demands.append(harmless_weight or 0.0)
    scores = np.stack([table.values[key] for key in gaining])
    spreads = np.sqrt(np.mean(scores**2, axis=1))
    sizes = 1.0 if table.weights is None else table.weights
    costs = np.stack(
        [np.ones(len(table)) * sizes, *(table.values[name] for name in request.exclude)]
    )
    paper = costs @ table.mask(coupled(request))
    if not paper[0]:
        raise SettingsError(
            "--rule balanced counts weights and budget by what the rule coupled takes at the same "
            "ratio, and that is nothing here. Give a larger --ratio."
        )
    if not (paper > 0).all():
        raise SettingsError(
            f"What the rule coupled takes at this ratio costs {request.exclude[0]} nothing, so "
            "that a --budget has no unit. Give a larger --ratio."
        )
    costs[1:] /= paper[1:, None]
    limits = np.full(len(costs), 1.0 if budget is None else budget)
    limits[0] = paper[0] if weights is None else weights
    programme = Programme(
        scores / np.where(spreads > 0, spreads, 1)[:, None], np.array(demands), costs, limits
    )
    solution = solve(programme)
    chosen = rounded(programme, solution)
    if not chosen.any() or programme.smallest(chosen) <= 0:
        raise SettingsError(
            f"No choice out of {len(table):,} candidates raises every one of "
            f"{', '.join(request.couple)} within these limits. Give more --weights, a larger "
            "--budget or a smaller --harmless-weight, or score with a larger --shortlist."
        )
    facts = _facts(request, programme, solution, chosen, spreads)
    return Choice(table.selection(chosen), facts, tuple(_words(facts)))


def _table(request: Request, harmless_weight: float | None) -> Table:
    """The candidates with all that the programme needs, of the right kind."""
    table, wanted = request.table, dict.fromkeys(request.exclude, "abs")
    wanted |= {contrast_of(name): "contrast" for name in request.couple}
    if harmless_weight is not None:
        wanted[contrast_of(HARMLESS)] = "contrast"
    for key, statistic in wanted.items():
        name = dimension_of(key)
        if table is None or key not in table.values:
            raise SettingsError(
                f"--rule balanced needs what {name} scores by «{statistic}» at the shortlists of "
                f"all dimensions, and these scores don't hold it. {_AGAIN}"
            )
        if (found := request.statistics[key]) != statistic:
            raise SettingsError(
                f"--rule balanced needs {name} scored by «{statistic}», and it was scored by "
                f"«{found}». {_AGAIN}"
            )
    assert table is not None
    return table


def _facts(
    request: Request,
    programme: Programme,
    solution: Solution,
    chosen: Mask,
    spreads: Floats,
) -> dict[str, Any]:
    gained = programme.gains @ chosen
    names = [*request.couple, HARMLESS][: len(gained)]
    used = programme.costs @ chosen
    smallest = programme.smallest(chosen)
    worth = (solution.limit_prices * programme.limits / solution.value).tolist()
    return {
        "candidates": len(chosen),
        "smallest_gain": smallest,
        "rounding_loss": 1 - smallest / solution.value,
        "gains": {
            name: {
                "margin": float(gained[place] * spreads[place]),
                "spreads": float(gained[place]),
                "asked": float(programme.demands[place] * smallest),
                "price": float(solution.gain_prices[place]),
            }
            for place, name in enumerate(names)
        },
        "weights": {"used": int(used[0]), "limit": int(programme.limits[0]), "worth": worth[0]},
        "budget": {
            name: {
                "used": float(used[place]),
                "limit": float(programme.limits[place]),
                "worth": worth[place],
            }
            for place, name in enumerate(request.exclude, start=1)
        },
    }


def _words(facts: Mapping[str, Any]) -> list[str]:
    """What was gained and what it cost, in sentences."""
    lines = [
        f"Every coupled dimension gains at least {facts['smallest_gain']:,.4g} spreads, chosen out "
        f"of {facts['candidates']:,} candidates (rounding cost {facts['rounding_loss']:.1%})"
    ]
    for name, one in facts["gains"].items():
        price = (
            f"each spread more asked of it would cost the smallest gain {one['price']:.2g}"
            if one["price"] > 1e-6
            else "it holds nothing back"
        )
        lines.append(
            f"{name}: {one['spreads']:+,.4g} spreads (margin {one['margin']:+.3g} nats a token, to "
            f"first order); {price}"
        )
    limits = {"weights": facts["weights"]}
    limits |= {f"budget of {name}": one for name, one in facts["budget"].items()}
    for name, one in limits.items():
        lines.append(
            f"{name}: {one['used']:,.4g} of {one['limit']:,.4g} used; 1 % more would raise the "
            f"smallest gain by {one['worth']:.2f} %"
        )
    return lines
