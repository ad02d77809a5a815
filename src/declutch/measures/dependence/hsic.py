"""Dependence of two paired samples: HSIC, normalised HSIC, linear CKA, and their permutation test.

Every measure is an inner product of two centred kernel matrices ``[n, n]``, one for each sample:

- HSIC is ``⟨K, L⟩`` divided by ``n(n-3)`` for the unbiased estimator (Song et al., JMLR 13 (2012)
  1393, eq. 5, in the form of Székely and Rizzo, Annals of Statistics 42 (2014) 2382: the matrices
  U-centred), or by ``(n-1)²`` for the biased one (Gretton et al., ALT 2005: doubly centred);
- normalised, it is ``⟨K, L⟩ / (|K||L|)``: the kernel alignment of Cortes, Mohri, Rostamizadeh
  (JMLR 13 (2012) 795), which with linear kernels is the CKA of Kornblith et al. (ICML 2019).

Pairing the samples in another way permutes the rows and columns of one matrix, and leaves both
norms as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Estimator = Literal["unbiased", "biased"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tested:
    """A statistic and what it would be under other pairings.

    Attributes:
        value: as the samples are paired.
        null: for each permutation of the pairing.
        p: one-sided: how often a pairing gives as much, ``(1 + count) / (1 + permutations)``
            (Phipson and Smyth 2010), so never 0.
    """

    value: float
    null: Floats
    p: float


def linear_gram(sample: Floats) -> Floats:
    """``x · y`` for each two rows of ``[n, features]``."""
    gram: Floats = sample @ sample.T
    return gram


def gaussian_gram(sample: Floats, bandwidth: float | None = None) -> Floats:
    """``exp(-|x - y|² / 2σ²)`` for each two rows of ``[n, features]``.

    Args:
        bandwidth: σ; by default the median distance of two different rows (the median heuristic),
            which makes the kernel blind to the sample's scale.
    """
    centred = sample - sample.mean(axis=0)  # the same distances, with less rounding
    squares = (centred**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * centred @ centred.T, 0)
    if bandwidth is None:
        bandwidth = float(np.sqrt(np.median(distances[np.triu_indices(len(sample), 1)])))
    if bandwidth == 0:  # more than half of the rows are the same
        same: Floats = (distances == 0).astype(np.float64)
        return same
    gram: Floats = np.exp(-distances / (2 * bandwidth**2))
    return gram


def centred(gram: Floats, estimator: Estimator = "unbiased") -> Floats:
    """A kernel matrix centred for an estimator.

    Raises:
        ValueError: fewer than 4 rows for the unbiased one, or than 2 for the biased one.
    """
    n = len(gram)
    if n < (4 if estimator == "unbiased" else 2):
        raise ValueError(f"{n} pairs are too few for the {estimator} estimator")
    if estimator == "biased":
        doubly: Floats = gram - gram.mean(axis=0) - gram.mean(axis=1)[:, None] + gram.mean()
        return doubly
    hollow = gram - np.diag(np.diag(gram))
    rows = hollow.sum(axis=1) / (n - 2)
    result: Floats = hollow - rows[:, None] - rows[None, :] + hollow.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(result, 0)
    return result


def hsic(first: Floats, second: Floats, estimator: Estimator = "unbiased") -> float:
    """HSIC of two kernel matrices over the same pairs; may be below 0 where unbiased."""
    product = float((centred(first, estimator) * centred(second, estimator)).sum())
    return product / scale(len(first), estimator)


def scale(n: int, estimator: Estimator) -> int:
    """What the product of two centred matrices is divided by."""
    return n * (n - 3) if estimator == "unbiased" else (n - 1) ** 2


def alignment(first: Floats, second: Floats, estimator: Estimator = "unbiased") -> float:
    """Normalised HSIC of two kernel matrices; CKA where both are linear.

    0 where one of the samples does not vary at all.
    """
    left, right = centred(first, estimator), centred(second, estimator)
    norms = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float((left * right).sum()) / norms if norms > 0 else 0.0


def permutations(n: int, count: int, seed: int = 0) -> NDArray[np.int64]:
    """``[count, n]`` pairings of ``n`` items, the same for a seed."""
    generator = np.random.default_rng(seed)
    return np.stack([generator.permutation(n) for _ in range(count)])


def permuted_products(
    first: Floats, second: Floats, orders: NDArray[np.int64]
) -> tuple[float, Floats]:
    """``⟨K, L⟩`` of two centred matrices, and the same for each order of the second's items."""
    null = np.array([(first * second[np.ix_(order, order)]).sum() for order in orders])
    return float((first * second).sum()), null


def permutation_test(value: float, null: Floats) -> Tested:
    """One-sided test that pairs depend on each other more than other pairings of them do."""
    # Ties by rounding count against the finding.
    slack = 1e-12 * max(1e-300, float(np.abs(null).max(initial=0.0)))
    reached = int((null >= value - slack).sum())
    return Tested(value, null, (1 + reached) / (1 + len(null)))


def expected_biased(first: Floats, second: Floats) -> float:
    """What the biased HSIC is on average over all pairings of the two samples.

    ``tr K̄ · tr L̄ / (n-1)³`` with the doubly centred matrices: it is above 0 for any two samples,
    says how much each varies by itself, and nothing of how they depend on each other.
    """
    n = len(first)
    traces = np.trace(centred(first, "biased")) * np.trace(centred(second, "biased"))
    return float(traces) / (n - 1) ** 3
