"""How few items are too few: the one rule for every interval, test, guard and sentence."""

from __future__ import annotations

from typing import Final

# With five pairs no outcome whatever reaches p < 0.05: neither in McNemar's exact test nor in any
# that exchanges before and after pair by pair, whose smallest two-sided p is 2 / 2ⁿ.
LEAST: Final = 6
TOO_FEW: Final = "too few to tell"


def too_few(items: int | None) -> bool:
    """Whether something was measured, but on too few items to say more than the bare number."""
    return items is not None and 0 < items < LEAST


def too_few_of(items: int) -> str:
    """In words, with the counts: «too few to tell (2 of at least 6)»."""
    return f"{TOO_FEW} ({items} of at least {LEAST})"
