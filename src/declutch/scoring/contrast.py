"""Good against bad responses to the same prompts: examples that carry a sign."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from declutch.data.encoding import EncodedDimension, EncodedExample, Encoder, tell_losses
from declutch.data.example import Example
from declutch.errors import DataError

log = logging.getLogger("declutch")


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
    encoded: list[EncodedExample] = []
    left_out: list[str] = []
    reason = ""
    for number, example in enumerate(examples, start=1):
        bad = replace(example, response=example.bad_response or "")
        try:
            encoded += [encoder.encode(example), encoder.encode(bad)]
        except DataError as error:
            log.debug("%s", error)
            reason = reason or str(error)
            left_out.append(example.id or f"#{number}")
    if not encoded:
        raise DataError(
            f"No pair of {name} has a response token of both responses within "
            f"{encoder.max_length} tokens. Raise --max-length, or check the columns."
        )
    tell_losses(name, "pairs", len(examples), left_out, reason, allow_fewer=allow_fewer)
    truncated = sum(example.truncated for example in encoded)
    if truncated:
        log.warning(
            "%s: the end of %d of %d responses was cut at %d tokens (--max-length)",
            name, truncated, len(encoded), encoder.max_length,
        )  # fmt: skip
    signs = [1, -1] * (len(encoded) // 2)
    return EncodedDimension(tuple(encoded), truncated, tuple(left_out)), signs
