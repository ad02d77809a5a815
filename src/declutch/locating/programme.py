"""The linear programme behind the rule ``balanced``, and how its answer becomes whole (pure)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csc_array, hstack

from declutch.errors import DeclutchError

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
_STEP = 5000  # candidates that are looked at together
_TOLERANCE = 1e-7  # HiGHS's own, of prices


@dataclass(frozen=True)
class Programme:
    """Choose ``x`` in ``[0, 1]ⁿ`` for the largest ``t`` such that all demands and limits hold.

    Attributes:
        gains: ``[d, n]``: ``gains[d] @ x`` must reach ``demands[d] · t``.
        demands: ``[d]``; 1 for what is to be as large as possible, other numbers for a share of it.
        costs: ``[c, n]``, none negative: ``costs[c] @ x`` must not pass ``limits[c]``.
        limits: ``[c]``.
    """

    gains: Floats
    demands: Floats
    costs: Floats
    limits: Floats

    def smallest(self, chosen: Mask) -> float:
        """The largest ``t`` that a choice allows; none below zero is worth anything."""
        wanted = self.demands > 0
        reached = self.gains[wanted] @ chosen / self.demands[wanted]
        return float(reached.min())


@dataclass(frozen=True)
class Solution:
    """The optimum and its duals.

    Attributes:
        x: ``[n]``.
        value: the largest ``t``.
        gain_prices: ``[d]``: how much ``t`` would fall for one unit more asked of a gain.
        limit_prices: ``[c]``: how much ``t`` would rise for one unit more of a limit.
    """

    x: Floats
    value: float
    gain_prices: Floats
    limit_prices: Floats


def solve(programme: Programme) -> Solution:
    """The optimum, by HiGHS on a growing part of the candidates.

    Few candidates of many are chosen. So a part is solved, its prices tell what every other one
    would be worth, and those worth something join it; when there are none, the optimum of the part
    is that of all.
    """
    count = programme.gains.shape[1]
    x, value = np.zeros(count), 0.0
    # What gains nothing anywhere is of no use, whatever the prices; costs are never negative.
    useful = (programme.gains > 0).any(axis=0)
    prices = programme.demands.clip(0) / _norms(programme.gains), 1 / _norms(programme.costs)
    inside = np.zeros(count, dtype=bool)
    while True:
        worth = prices[0] @ programme.gains - prices[1] @ programme.costs
        worth[inside | ~useful] = -np.inf
        best = np.argsort(-worth, kind="stable")[:_STEP]
        best = best[worth[best] > (_TOLERANCE if inside.any() else -np.inf)]
        if not len(best):
            return Solution(x, value, *prices)
        inside[best] = True
        places = np.flatnonzero(inside)
        found, value, prices = _solve_part(programme, places)
        x[:] = 0
        x[places] = found


def _norms(rows: Floats) -> Floats:
    norms: Floats = np.linalg.norm(rows, axis=1)
    return np.where(norms > 0, norms, 1)


def _solve_part(
    programme: Programme, places: NDArray[np.int64]
) -> tuple[Floats, float, tuple[Floats, Floats]]:
    """``x`` at the places, ``t``, and the prices of gains and limits."""
    gains, costs = programme.gains[:, places], programme.costs[:, places]
    count = len(places)
    rows = csc_array(np.vstack([-gains, costs]))
    last = csc_array(np.concatenate([programme.demands, np.zeros(len(costs))])[:, None])
    result = linprog(
        np.r_[np.zeros(count), -1.0],
        A_ub=hstack([rows, last], format="csc"),
        b_ub=np.r_[np.zeros(len(gains)), programme.limits],
        bounds=np.c_[np.zeros(count + 1), np.r_[np.ones(count), np.inf]],
        method="highs-ds",  # a vertex: all but a handful of variables are whole
    )
    if result.status:  # nothing chosen fits always, so it is no infeasible one
        raise DeclutchError(f"The linear programme could not be solved: {result.message}")
    marginals = np.abs(result.ineqlin.marginals)
    return result.x[:-1], float(result.x[-1]), (marginals[: len(gains)], marginals[len(gains) :])


def rounded(programme: Programme, x: Floats) -> Mask:
    """A whole choice: what is chosen wholly, then what is chosen in part, the largest part first.

    Of those each is taken that fits all limits and does not lower the smallest gain.
    """
    chosen = x > 1 - 1e-6
    parts = np.flatnonzero((x > 1e-6) & ~chosen)
    for place in parts[np.argsort(-x[parts], kind="stable")]:
        more = chosen.copy()
        more[place] = True
        fits = (programme.costs @ more <= programme.limits * (1 + 1e-9)).all()
        if fits and programme.smallest(more) >= programme.smallest(chosen):
            chosen = more
    return chosen
