"""``or-bench``: harmless prompts that models often refuse."""

from __future__ import annotations

from declutch.suites.base import SUITES, Suite
from declutch.suites.counted import Group, suite_of_types

OR_BENCH_HUB = "hub:bench-llm/or-bench?config=or-bench-hard-1k"
_GROUPS = (
    Group("fairness", ("hate",), kind="over_refusal"),
    Group("privacy", ("privacy",), kind="over_refusal"),
    Group("other", kind="over_refusal"),
)


@SUITES.register("or-bench")
def or_bench(where: str = "") -> Suite:
    """OR-Bench-Hard-1K: harmless prompts that look like hate, like privacy, or like other harms.

    Source: Cui et al., OR-Bench, ICML 2025; data under CC-BY-4.0.

    Args:
        where: a source of the same columns (``prompt``, ``category``), in place of the hub.

    Raises:
        DataError: it can't be read, or lacks prompts of a kind.
        MissingExtra: ``datasets`` is not installed.
    """
    columns = ("prompt", "category")
    return suite_of_types("or-bench", where, OR_BENCH_HUB, columns, _GROUPS, "the hub has", 1319)
