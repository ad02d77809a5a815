"""``coconot``: harmless prompts close to ones that should not be complied with."""

from __future__ import annotations

from declutch.suites.base import SUITES, Suite
from declutch.suites.counted import Group, suite_of_types

COCONOT_HUB = "hub:allenai/coconot?config=contrast&split=test"
_GROUPS = (
    Group("privacy", ("privacy violations",), kind="over_refusal"),
    Group("other", kind="over_refusal"),
)


@SUITES.register("coconot")
def coconot(where: str = "") -> Suite:
    """The contrast set of CoCoNot: 379 prompts that should be complied with.

    Source: Brahman et al., The Art of Saying No, NeurIPS 2024; data under ODC-BY.

    Args:
        where: a source of the same columns (``prompt``, ``subcategory``), in place of the hub.

    Raises:
        DataError: it can't be read, or lacks prompts of a kind.
        MissingExtra: ``datasets`` is not installed.
    """
    columns = ("prompt", "subcategory")
    return suite_of_types("coconot", where, COCONOT_HUB, columns, _GROUPS, "the card names", 379)
