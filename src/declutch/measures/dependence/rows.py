"""How much the representations of two dimensions depend on each other, layer by layer.

Dependence is a property of pairs, and a fairness prompt has no privacy prompt that belongs to it:
docs/theory.md says what that means for every number here. So the pairing is a choice, it is
named in every result, and each value comes with its permutation null: what other pairings of the
same prompts give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from declutch.comparing.enough import LEAST
from declutch.comparing.kinds import Paired
from declutch.errors import DataError, SettingsError
from declutch.files import sha256_json
from declutch.items import Item, item_id
from declutch.measures.dependence import hsic
from declutch.measures.dependence.hsic import Estimator
from declutch.settings import Pairing

if TYPE_CHECKING:
    from torch import nn

    from declutch.data.encoding import Encoder
    from declutch.measures.dependence.representations import Representations
    from declutch.suites.base import Suite

ALL: Final = "all"
MEASURED: Final = ("hsic", "nhsic", "cka")
FEWEST_PAIRS = LEAST


class DependenceItem(Item):
    """One measure at one layer.

    Attributes:
        id: ``MEASURE/POOLING/layer_N``.
        p: one-sided, against other pairings of the same prompts.
        null: the measure for each of those pairings, drawn alike for a seed, so that two
            evaluations of the same prompts can be set against each other pairing by pairing.
        pairs: number of pairs; ``pairs_sha256`` says which they are.
    """

    value: float
    p: float
    pairs: int
    pairs_sha256: str
    pairing: str
    estimator: str
    seed: int
    null: tuple[float, ...]

    @property
    def name(self) -> str:
        """The metric's name."""
        return f"dependence/{self.id}"


def pair_indices(
    first_lengths: Sequence[int],
    second_lengths: Sequence[int],
    pairing: Pairing,
    seed: int = 0,
    most: int | None = None,
) -> list[tuple[int, int]]:
    """Which item of one list goes with which of the other, each used at most once.

    Args:
        first_lengths, second_lengths: tokens of each prompt.
        pairing: ``order`` takes them as they come in their files; ``length`` puts the shortest
            with the shortest and so on (from a longer list, prompts evenly spaced in length);
            ``seeded`` draws them.
        most: pairs at most; the rest is left out.
    """
    n = min(len(first_lengths), len(second_lengths))
    n = n if most is None else min(n, most)
    if pairing == "order":
        return [(index, index) for index in range(n)]
    if pairing == "seeded":
        generator = np.random.default_rng(seed)
        left = generator.permutation(len(first_lengths))[:n]
        right = generator.permutation(len(second_lengths))[:n]
        return list(zip(left.tolist(), right.tolist(), strict=True))
    chosen = []
    for lengths in (first_lengths, second_lengths):
        ranked = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
        spaced = np.linspace(0, len(ranked) - 1, n).round().astype(int)
        chosen.append([ranked[place] for place in spaced])
    return list(zip(*chosen, strict=True))


def dependence_rows(
    first: Representations,
    second: Representations,
    *,
    ids: tuple[Sequence[str], Sequence[str]] | None = None,
    pairing: Pairing = "order",
    estimator: Estimator = "unbiased",
    permutations: int = 199,
    most: int | None = 500,
    seed: int = 0,
) -> list[DependenceItem]:
    """HSIC, normalised HSIC and linear CKA at every layer and pooling, with permutation tests.

    Args:
        first, second: representations of the two dimensions' prompts.
        ids: what the prompts are called, for the record of pairs; their numbers by default.
        most: pairs at most; time grows with its square.

    Raises:
        SettingsError: the pairing is unknown, or there are no permutations.
        DataError: there are fewer than four pairs.
    """
    if pairing not in get_args(Pairing):
        raise SettingsError(
            f"The pairing «{pairing}» is unknown; give one of {', '.join(get_args(Pairing))}."
        )
    if permutations < 1:
        raise SettingsError(f"permutations must be at least 1, not {permutations}.")
    _check_count(len(first.lengths), len(second.lengths))
    pairs = pair_indices(first.lengths, second.lengths, pairing, seed, most)
    names = ids or (range(len(first.lengths)), range(len(second.lengths)))
    digest = sha256_json([[str(names[0][a]), str(names[1][b])] for a, b in pairs])
    orders = hsic.permutations(len(pairs), permutations, seed)
    left, right = (list(side) for side in zip(*pairs, strict=True))
    found: list[DependenceItem] = []
    for pooling in first.layers:
        layers = zip(first.layers[pooling], second.layers[pooling], strict=True)
        for layer, (one, other) in enumerate(layers):
            of_layer = measured(one[left], other[right], orders, estimator)
            found += [
                DependenceItem(
                    set=ALL,
                    id=f"{measure}/{pooling}/layer_{layer}",
                    value=tested.value,
                    p=tested.p,
                    pairs=len(pairs),
                    pairs_sha256=digest,
                    pairing=pairing,
                    estimator=estimator,
                    seed=seed,
                    null=tuple(float(f"{value:.6g}") for value in tested.null),
                )
                for measure, tested in of_layer.items()
            ]
    # One measure after another, each through the layers: how they are read.
    order = {measure: place for place, measure in enumerate(MEASURED)}
    return sorted(found, key=lambda item: order[item.id.partition("/")[0]])


def measured(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    orders: NDArray[np.int64],
    estimator: Estimator = "unbiased",
) -> dict[str, hsic.Tested]:
    """Each of :data:`MEASURED` for paired rows ``[n, features]``, tested over the orders."""
    scale = hsic.scale(len(first), estimator)
    found = {}
    for kernel, gram in (("gaussian", hsic.gaussian_gram), ("linear", hsic.linear_gram)):
        left = hsic.centred(gram(first), estimator)
        right = hsic.centred(gram(second), estimator)
        value, null = hsic.permuted_products(left, right, orders)
        norms = float(np.linalg.norm(left) * np.linalg.norm(right)) or 1.0
        if kernel == "gaussian":
            found["hsic"] = hsic.permutation_test(value / scale, null / scale)
        name = "nhsic" if kernel == "gaussian" else "cka"
        found[name] = hsic.permutation_test(value / norms, null / norms)
    return found


def suite_dependence(
    model: nn.Module, encoder: Encoder, suite: Suite, **options: Any
) -> list[DependenceItem]:
    """The dependence of two dimensions' awareness prompts in a suite.

    Args:
        options: see :func:`dependence_rows`.

    Raises:
        DataError: the suite has fewer than two dimensions, or too few prompts.
    """
    from declutch.measures.dependence.representations import representations

    one, other = paired_prompts(suite).values()
    first, second = (representations(model, encoder, list(each.values())) for each in (one, other))
    return dependence_rows(first, second, ids=(list(one), list(other)), **options)


def paired_prompts(suite: Suite) -> dict[str, dict[str, str]]:
    """The awareness prompts of two dimensions of a suite, by dimension and id.

    Fairness and privacy where the suite has both, else its first two.

    Raises:
        DataError: the suite has fewer than two dimensions, or too few prompts of one.
    """
    prompts: dict[str, dict[str, str]] = {}
    for each in suite.prompt_sets:
        if each.kind == "awareness":
            own = prompts.setdefault(each.dimension, {})
            for item in each.items:
                own[item_id(f"{each.suite}/{each.name}/{item.id}", item.prompt)] = item.prompt
    usual = ("fairness", "privacy")
    chosen = usual if all(name in prompts for name in usual) else tuple(prompts)[:2]
    if len(chosen) < 2:
        raise DataError(
            "Dependence needs awareness prompts of two dimensions; the suite "
            f"{suite.name} has {', '.join(prompts) or 'none'}."
        )
    _check_count(*(len(prompts[name]) for name in chosen))
    return {name: prompts[name] for name in chosen}


def _check_count(*counts: int) -> None:
    if min(counts) < FEWEST_PAIRS:
        raise DataError(
            f"Dependence needs at least {FEWEST_PAIRS} prompts of each dimension; there are "
            f"{' and '.join(map(str, counts))}. Raise --limit, or give more prompts."
        )


def dependence_change(before: DependenceItem, after: DependenceItem) -> Paired:
    """How one measure changes from one evaluation to another.

    Whether the pairs as given change by more than other pairings of the same prompts do: the same
    pairings are drawn on both sides, and the change of each is one value of the null. So ``p`` is
    two-sided; None where the two evaluations were not paired alike.
    """
    change = Paired(after.pairs, after.value - before.value)
    keys = ("pairs_sha256", "pairing", "estimator", "seed")
    alike = all(getattr(before, key) == getattr(after, key) for key in keys)
    if not alike or len(before.null) != len(after.null):
        return change
    null = np.array(after.null) - np.array(before.null)
    # Stored values are rounded to six digits; ties count against the finding.
    scale = max(np.abs(before.null).max(initial=0), np.abs(after.null).max(initial=0))
    size = abs(after.value - before.value - null.mean())
    reached = int((np.abs(null - null.mean()) >= size - 1e-5 * scale).sum())
    return replace(change, p=(1 + reached) / (1 + len(null)), test="permutation of the pairing")
