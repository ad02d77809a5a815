"""What a judge says of one reply, as it is kept beside the reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

VerdictName = Literal["aware", "unaware", "unparsed"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of one reply.

    Attributes:
        verdict: ``unparsed`` where the judge could not decide, or gave an answer of no known form.
        reason: why, in a few words.
        raw: the judge's own output, unchanged; empty for judges that have none.
    """

    verdict: VerdictName
    reason: str = ""
    raw: str = ""
