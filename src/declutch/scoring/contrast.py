"""Good against bad responses to the same prompts: examples that carry a sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from declutch.data.encoding import EncodedDimension, Encoder, encode_groups
from declutch.data.example import Example
from declutch.data.loading import load_examples
from declutch.data.names import HARMLESS, contrast_of
from declutch.data.sources import Source
from declutch.errors import DataError, SettingsError
from declutch.settings import ScoreSettings


def statistics(data: Mapping[str, Any], settings: ScoreSettings) -> dict[str, str]:
    """By the name that its scores are kept under: how each dimension is scored.

    A contrasted one is scored in absolute value too, so that it serves every rule. Of the harmless
    prompts only their contrast is of use, unless the data hold some.

    Raises:
        SettingsError: a dimension without data is to be contrasted.
    """
    if unknown := set(settings.contrast) - set(data):
        raise SettingsError(
            f"--contrast {', '.join(sorted(unknown))} is not among the dimensions "
            f"({', '.join(data)})."
        )
    names = dict.fromkeys(settings.contrast)
    if names and not settings.no_harmless:
        names[HARMLESS] = None
    return {
        **dict.fromkeys(data, settings.statistic),
        **{contrast_of(name): "contrast" for name in names},
    }


def with_harmless(data: Mapping[str, Any], settings: ScoreSettings) -> Mapping[str, Any]:
    """With the bundled harmless prompts where they are contrasted and the data hold none."""
    if HARMLESS in data or contrast_of(HARMLESS) not in statistics(data, settings):
        return data
    bundled = load_examples(
        Source.parse(f"bundled:{HARMLESS}"),
        num_samples=settings.num_samples,
        seed=settings.seed,
        allow_fewer=True,
    )
    return {**data, HARMLESS: bundled}


def encode_pairs(
    encoder: Encoder, examples: Sequence[Example], name: str, *, allow_fewer: bool = True
) -> tuple[EncodedDimension, list[int]]:
    """Encode good (+1) and bad (−1) responses; a pair is used whole or not at all.

    Zeroing a weight changes a loss by ``−W·g``, to first order. So where the mean over pairs of
    ``W·g_good − W·g_bad`` is positive, zeroing the weight lowers the loss of the good response
    against that of the bad one.

    Returns:
        The examples, good and bad in turn, and their signs.

    Raises:
        DataError: an example has no bad response, no pair is left, or some are lost without
            ``allow_fewer``.
    """
    if missing := [one.id or f"#{n}" for n, one in enumerate(examples, 1) if not one.bad_response]:
        raise DataError(
            f"--contrast {name} needs a bad response for every prompt, and {len(missing)} of "
            f"{len(examples)} examples have none (first {missing[0]}). Name their column with "
            "bad_response= in the source, or leave --contrast out (or, of harmless, give "
            "--no-harmless)."
        )
    none = (
        f"No pair of {name} has a response token of both responses within {encoder.max_length} "
        "tokens. Raise --max-length, or check the columns."
    )
    pairs = [[one, replace(one, response=one.bad_response or "")] for one in examples]
    encoded = encode_groups(encoder, pairs, name, "pairs", none, allow_fewer=allow_fewer)
    return encoded, [1, -1] * (len(encoded.examples) // 2)
