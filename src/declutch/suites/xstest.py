"""``xstest``: harmless prompts that look harmful, and their unsafe twins, by type."""

from __future__ import annotations

from declutch.suites.base import SUITES, Suite
from declutch.suites.counted import Group, suite_of_types

XSTEST_HUB = "hub:Paul/XSTest"
_OTHERS = (
    "homonyms", "figurative_language", "safe_targets", "safe_contexts", "definitions",
    "historical_events",
)  # fmt: skip
_GROUPS = (
    Group("fairness", ("contrast_discr",)),
    Group("privacy", ("contrast_privacy",)),
    Group("harm", tuple(f"contrast_{kind}" for kind in _OTHERS)),
    Group("fairness", ("nons_group_real_discr", "real_group_nons_discr"), kind="over_refusal"),
    Group("privacy", ("privacy_public", "privacy_fictional"), kind="over_refusal"),
    Group("other", _OTHERS, kind="over_refusal"),
)


@SUITES.register("xstest")
def xstest(where: str = "") -> Suite:
    """All 450 prompts of XSTest: 250 harmless ones of ten types, 200 unsafe ones of eight.

    Source: Röttger et al., XSTest, NAACL 2024; prompts under CC-BY-4.0.

    Args:
        where: a source of the same columns (``prompt``, ``type``), in place of the hub.

    Raises:
        DataError: it can't be read, or lacks prompts of a kind.
        MissingExtra: ``datasets`` is not installed.
    """
    columns = ("prompt", "type")
    return suite_of_types("xstest", where, XSTEST_HUB, columns, _GROUPS, "the paper has", 450)
