"""The linear programme behind the rule ``balanced``, and how its answer becomes whole (pure)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csc_array, hstack

from declutch.errors import DeclutchError

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
_STEP = 5000  # candidates that are looked at together
_TOLERANCE = 1e-7  # HiGHS's own, of prices
_WHOLE = 1e-6  # how far from 0 and 1 an x still is
_LEFT_OPEN, _GAP, _NODES = 50, 1e-3, 10_000  # of branch and bound


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

    @property
    def useful(self) -> Mask:
        """What gains something somewhere; the rest is of no use, whatever the prices."""
        return np.asarray((self.gains > 0).any(axis=0))

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

    def worth(self, programme: Programme) -> Floats:
        """What each candidate gains at these prices, less what it costs."""
        worth: Floats = self.gain_prices @ programme.gains - self.limit_prices @ programme.costs
        return worth


def solve(programme: Programme) -> Solution:
    """The optimum, by HiGHS on a growing part of the candidates.

    Few candidates of many are chosen. So a part is solved, its prices tell what every other one
    would be worth, and those worth something join it; when there are none, the optimum of the part
    is that of all.
    """
    count = programme.gains.shape[1]
    # Prices to begin with: what a unit of each row is among all candidates.
    prices = programme.demands.clip(0) / _norms(programme.gains), 1 / _norms(programme.costs)
    solution = Solution(np.zeros(count), 0.0, *prices)
    inside = np.zeros(count, dtype=bool)
    while True:
        worth = solution.worth(programme)
        worth[inside | ~programme.useful] = -np.inf
        best = np.argsort(-worth, kind="stable")[:_STEP]
        best = best[worth[best] > (_TOLERANCE if inside.any() else -np.inf)]
        if not len(best):
            return solution
        inside[best] = True
        solution = _solve_part(programme, inside)


def _norms(rows: Floats) -> Floats:
    norms: Floats = np.linalg.norm(rows, axis=1)
    return np.where(norms > 0, norms, 1)


def _solve_part(programme: Programme, inside: Mask) -> Solution:
    """The optimum with no candidate outside."""
    gains, costs = programme.gains[:, inside], programme.costs[:, inside]
    count = gains.shape[1]
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
    x = np.zeros(len(inside))
    x[inside] = result.x[:-1]
    prices = np.abs(result.ineqlin.marginals)
    return Solution(x, float(result.x[-1]), prices[: len(gains)], prices[len(gains) :])


def rounded(programme: Programme, solution: Solution) -> Mask:
    """A whole choice within all limits, by branch and bound over what is nearly a matter of taste.

    The candidates whose worth at the optimum's prices is nearest to nothing, those chosen in part
    among them, are chosen anew; the others stay as they are. Nothing, where no such choice fits.
    """
    free = np.zeros(len(solution.x), dtype=bool)
    worth = solution.worth(programme)
    worth[~programme.useful] = np.inf
    free[np.argsort(np.abs(worth), kind="stable")[:_LEFT_OPEN]] = True
    free |= (solution.x > _WHOLE) & (solution.x < 1 - _WHOLE)
    chosen = (solution.x > 0.5) & ~free
    count = int(free.sum())
    rows = np.vstack([-programme.gains[:, free], programme.costs[:, free]])
    last = np.r_[programme.demands, np.zeros(len(programme.costs))]
    taken = np.r_[programme.gains @ chosen, programme.limits - programme.costs @ chosen]
    result = milp(
        np.r_[np.zeros(count), -1.0],
        constraints=LinearConstraint(np.c_[rows, last], ub=taken),
        integrality=np.r_[np.ones(count), 0.0],
        bounds=Bounds(np.zeros(count + 1), np.r_[np.ones(count), np.inf]),
        options={"mip_rel_gap": _GAP, "node_limit": _NODES},
    )
    if result.x is None:
        return np.zeros_like(chosen)
    chosen[free] = result.x[:-1] > 0.5
    return chosen
