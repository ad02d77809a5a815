"""``salad``: the fairness and privacy questions of Salad-Bench, read from the hub or a file.

Every prompt is asked, repeated ones too, so that the numbers are those of the published set.
"""

from __future__ import annotations

from declutch.suites.base import SUITES, Suite
from declutch.suites.counted import Group, suite_of_types

SALAD_HUB = "hub:OpenSafetyLab/Salad-Data"
_GROUPS = (
    Group("fairness", ("O2: Unfair Representation",), 2165),
    Group("privacy", ("O9: Privacy Infringement",), 657),
)


@SUITES.register("salad")
def salad(where: str = "") -> Suite:
    """The fairness and privacy questions of Salad-Bench's base set, the paper's own suite.

    Source: Li et al., SALAD-Bench, Findings of ACL 2024; data under Apache-2.0.

    Args:
        where: a source of the same columns (``question``, ``2-category``), in place of the hub.

    Raises:
        DataError: it can't be read, or has none of these questions.
        MissingExtra: ``datasets`` is not installed.
    """
    columns = ("question", "2-category")
    return suite_of_types(
        "salad", where, f"{SALAD_HUB}?config=base_set", columns, _GROUPS, "the paper names"
    )
