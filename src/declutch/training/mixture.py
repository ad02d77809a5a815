"""What is trained on: examples of each dimension, in a given share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate, pairwise

from declutch.data.dimension import DataLike, LoadedDimension, load_dimension
from declutch.data.held import are_examples
from declutch.data.names import check_data_by_name
from declutch.errors import SettingsError
from declutch.settings import TrainSettings


def load_mixture(
    data: Mapping[str, DataLike], settings: TrainSettings
) -> dict[str, LoadedDimension]:
    """The examples of each dimension.

    With shares there are as many in all as without: ``num_samples`` times the dimensions.

    Raises:
        SettingsError: there is no dimension, or the shares can't be had.
        DataError: see :func:`declutch.data.dimension.load_dimension`.
    """
    check_data_by_name(data)
    if not data:
        raise SettingsError("Give the data of at least one dimension: --data NAME=SOURCE.")
    if not settings.share:
        return {name: load_dimension(name, one, settings) for name, one in data.items()}
    shares = _shares(list(data), settings.share)
    for name, one in data.items():
        if are_examples(one):
            raise SettingsError(
                f"The data of «{name}» is a list of examples, which is used as it is: no share of "
                "it is drawn. Choose as many as you want, or give rows."
            )
    total = settings.num_samples * len(data)
    ends = [round(total * share) for share in accumulate(shares.values(), initial=0.0)]
    counts = dict(zip(shares, (end - start for start, end in pairwise(ends)), strict=True))
    if none := [name for name, count in counts.items() if not count]:
        raise SettingsError(
            f"The share of {none[0]} is no whole example of {total}. Give it a larger --share, "
            "more --num-samples, or leave its --data out."
        )
    return {
        name: load_dimension(name, one, replace(settings, num_samples=counts[name]))
        for name, one in data.items()
    }


def _shares(names: list[str], given: tuple[str, ...]) -> dict[str, float]:
    """The share of each dimension; those without one have equal parts of what is left.

    Raises:
        SettingsError: one can't be read, is of no dimension, or they don't add up to 1.
    """
    found: dict[str, float] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if not 0 < share <= 1:
            raise SettingsError(
                f"--share «{text}»: write NAME=SHARE, above 0 and at most 1: fairness=0.5."
            )
        if name not in names or name in found:
            why = "is named twice" if name in found else f"is not in --data ({', '.join(names)})"
            raise SettingsError(f"--share «{text}»: {name} {why}.")
        found[name] = share
    left = 1 - sum(found.values())
    rest = [name for name in names if name not in found]
    if left < -1e-9 or bool(rest) != (left > 1e-9):
        whom = f" for {', '.join(rest)}" if rest else ""
        raise SettingsError(
            f"--share: {' + '.join(f'{share:g}' for share in found.values())} leaves "
            f"{left:.3g}{whom}. The shares of all dimensions must add up to 1."
        )
    return {name: found.get(name, left / max(len(rest), 1)) for name in names}
