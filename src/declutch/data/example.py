"""The example: one prompt and its response."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt and its response.

    ``bad_response`` is there only in pairs that carry, for the same prompt, a response which an
    unaware model would give. ``cluster`` names what the example shares with others, such as a
    template; examples of one cluster are not taken as independent.
    """

    prompt: str
    response: str
    id: str = ""
    bad_response: str | None = None
    cluster: str = ""
