"""Good against bad responses to the same prompts: examples that carry a sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from declutch.data.encoding import EncodedDimension, Encoder, encode_groups
from declutch.data.example import Example
from declutch.errors import DataError


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
            "bad_response= in the source, or leave --contrast out."
        )
    none = (
        f"No pair of {name} has a response token of both responses within {encoder.max_length} "
        "tokens. Raise --max-length, or check the columns."
    )
    pairs = [[one, replace(one, response=one.bad_response or "")] for one in examples]
    encoded = encode_groups(encoder, pairs, name, "pairs", none, allow_fewer=allow_fewer)
    return encoded, [1, -1] * (len(encoded.examples) // 2)
