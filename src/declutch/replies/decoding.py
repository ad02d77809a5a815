"""How a reply is made from a prompt: format, limit, greedy or sampled. Knows nothing of models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from declutch.data.encoding import PromptFormat
from declutch.errors import SettingsError
from declutch.files import sha256_json
from declutch.ranges import Count, Seed, Share, Temperature, check_ranges


@dataclass(frozen=True, slots=True)
class Decoding:
    """All that a reply depends on but the model and the prompt.

    Attributes:
        prompt_format: see :class:`declutch.data.encoding.Encoder`.
        max_new_tokens: the most tokens of a reply.
        temperature: 0 is greedy.
        top_p: sample from the likeliest tokens that together have this probability.
        seed: of the sampling. With the transformers engine each prompt has its own stream of
            random numbers, so that a reply does not depend on the prompts beside it.
        thinking: for templates that know a thinking mode: whether it is on.

    Raises:
        SettingsError: a value is out of its range.
    """

    prompt_format: PromptFormat = "auto"
    max_new_tokens: Count = 128
    temperature: Temperature = 0.0
    top_p: Share = 1.0
    seed: Seed = 0
    thinking: bool = False

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.greedy and self.top_p < 1:
            raise SettingsError(
                f"--top-p {self.top_p} does nothing at temperature 0, which is greedy. Give a "
                "--temperature too, or leave it out."
            )

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0

    def seed_of(self, draw: int) -> int:
        """The seed of one of several replies to each prompt; of the first it is the seed itself.

        The others are hashed, so that two seeds never share a reply.
        """
        return int(sha256_json([self.seed, draw])[:7], 16) if draw else self.seed

    def settings(self) -> Mapping[str, Any]:
        """As JSON values; what greedy decoding does not depend on is left out."""
        sampling = (
            {}
            if self.greedy
            else {"temperature": self.temperature, "top_p": self.top_p, "seed": self.seed}
        )
        return {
            "decoding": "greedy" if self.greedy else "sampled",
            **sampling,
            "prompt_format": self.prompt_format,
            "thinking": self.thinking,
            "max_new_tokens": self.max_new_tokens,
        }


# The paper's: greedy, 64 new tokens, no chat template (arXiv 2410.16672). Ours is as long as the
# curves of docs/evaluation.md need: a hedge mostly comes after the 64th token.
PRESETS: Mapping[str, Decoding] = {
    "chat": Decoding(prompt_format="auto"),
    "paper": Decoding(prompt_format="raw", max_new_tokens=64),
}


def decoding_of(base: Decoding | str = "chat", **changes: Any) -> Decoding:
    """A decoding, or a preset by name, with what is not None changed.

    Raises:
        SettingsError: there is no such preset, or a value is out of its range.
    """
    if isinstance(base, str):
        if base not in PRESETS:
            raise SettingsError(
                f"There is no --preset «{base}». The presets are: {', '.join(PRESETS)}."
            )
        base = PRESETS[base]
    return replace(base, **{name: value for name, value in changes.items() if value is not None})
