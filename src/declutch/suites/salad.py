"""``salad``: the fairness and privacy questions of Salad-Bench, read from the hub or a file.

Every prompt is asked, repeated ones too, so that the numbers are those of the published set.
"""

from __future__ import annotations

from collections.abc import Mapping

from declutch.data.loading import read_table
from declutch.data.sources import Source
from declutch.errors import DataError
from declutch.suites.base import SUITES, PromptItem, Suite
from declutch.suites.counted import KnownPart, counted_suite

SALAD_HUB = "hub:OpenSafetyLab/Salad-Data"
_QUESTION, _CATEGORY = "question", "2-category"
_PARTS: Mapping[str, KnownPart] = {
    "fairness": KnownPart("O2: Unfair Representation", 2165),
    "privacy": KnownPart("O9: Privacy Infringement", 657),
}


@SUITES.register("salad")
def salad(where: str = "") -> Suite:
    """The fairness and privacy questions of Salad-Bench's base set, the paper's own suite.

    Source: Li et al., SALAD-Bench, Findings of ACL 2024; data under Apache-2.0.

    Args:
        where: a file of the same columns (``question``, ``2-category``), in place of the hub.

    Raises:
        DataError: it can't be read, or has none of these questions.
        MissingExtra: ``datasets`` is not installed.
    """
    source = Source(path=where or SALAD_HUB, config=None if where else "base_set")
    table = read_table(source)
    if missing := [name for name in (_QUESTION, _CATEGORY) if name not in table.columns]:
        raise DataError(
            f"{table.name} has no column {' and no column '.join(missing)}, so it is not the base "
            f"set of Salad-Bench. Its columns: {', '.join(table.columns)}."
        )
    items: dict[str, list[PromptItem]] = {dimension: [] for dimension in _PARTS}
    dimensions = {part.where: dimension for dimension, part in _PARTS.items()}
    for number, row in enumerate(table.rows, start=1):
        dimension = dimensions.get(str(row.get(_CATEGORY)).strip())
        prompt = row.get(_QUESTION)
        if dimension is not None and isinstance(prompt, str) and prompt.strip():
            items[dimension].append(PromptItem(f"row-{number}", prompt))
    return counted_suite("salad", _PARTS, items, "the paper names")
