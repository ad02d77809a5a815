"""Sampling in which a prompt's reply depends on its own seed and on nothing beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

_BYTES = 8


class SeededSampler(LogitsProcessor):
    """Makes the likeliest token a random draw: greedy search over its output samples.

    Temperature and top-p are applied, then Gumbel noise is added; the argmax of logits plus
    standard Gumbel noise is a draw from their softmax (Gumbel 1954; Maddison, Tarlow, Minka,
    NeurIPS 2014). Each row draws from a generator of its own, on the CPU, so that a reply is the
    same in every batch and on every device, up to rounding of the logits.

    Args:
        seeds: one for each row of the batch.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float = 1.0) -> None:
        self.temperature = temperature
        self.top_p = top_p
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(
        self,
        input_ids: torch.LongTensor,
        scores: torch.FloatTensor,
    ) -> torch.FloatTensor:
        """Scores ``[B, V]`` whose argmax is the draw, in float32."""
        logits = scores.float() / self.temperature
        if self.top_p < 1:
            logits = keep_top_p(logits, self.top_p)
        noise = torch.stack(
            [
                torch.empty(logits.shape[-1], dtype=torch.float64).exponential_(generator=each)
                for each in self._generators
            ]
        )
        # −log of an exponential variable is standard Gumbel.
        return logits - noise.log().to(logits.device, logits.dtype)  # type: ignore[return-value]


def keep_top_p(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Logits ``[B, V]`` with all but the nucleus at −inf.

    The nucleus is the smallest set of likeliest tokens with a probability of at least ``top_p``
    (Holtzman et al., ICLR 2020); it always holds the likeliest one.
    """
    ordered, order = logits.sort(dim=-1, descending=True)
    probability = ordered.softmax(dim=-1)
    outside = probability.cumsum(dim=-1) - probability >= top_p
    drop = torch.zeros_like(outside).scatter(-1, order, outside)
    return logits.masked_fill(drop, float("-inf"))


def prompt_seed(seed: int, prompt: str) -> int:
    """A seed for one prompt: the same for the same seed and text, on every machine."""
    digest = hashlib.sha256(f"{seed}\n{prompt}".encode()).digest()
    # A torch generator takes a signed 64-bit number.
    return int.from_bytes(digest[:_BYTES], "big") >> 1
