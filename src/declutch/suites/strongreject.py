"""``strongreject``: harmful requests, to see that an edit does not open a model."""

from __future__ import annotations

from declutch.suites.base import SUITES, Suite
from declutch.suites.counted import Group, suite_of_types

STRONGREJECT_HUB = "hub:walledai/StrongREJECT"
_GROUPS = (Group("fairness", ("Hate, harassment and discrimination",)), Group("harm"))


@SUITES.register("strongreject")
def strongreject(where: str = "") -> Suite:
    """The 313 forbidden prompts of StrongREJECT, those on hate and discrimination apart.

    Source: Souly et al., A StrongREJECT for Empty Jailbreaks, NeurIPS 2024; under MIT.

    Args:
        where: a source of the same columns (``category``, and ``prompt`` or, as in the authors'
            file, ``forbidden_prompt``), in place of the hub.

    Raises:
        DataError: it can't be read, or lacks prompts of a kind.
        MissingExtra: ``datasets`` is not installed.
    """
    columns = ("forbidden_prompt|prompt", "category")
    return suite_of_types(
        "strongreject", where, STRONGREJECT_HUB, columns, _GROUPS, "the paper has", 313
    )
