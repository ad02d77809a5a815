"""What ``evaluate`` and ``compare`` print on stdout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from declutch.cli.printing import print_json

if TYPE_CHECKING:
    from declutch.evaluation.compare import Comparison
    from declutch.evaluation.results import Results


def print_results(results: Results, out: Path) -> None:
    """The metrics of one evaluation, and where its files are."""
    from declutch.reporting.console import results_table
    from declutch.reporting.values import Metric

    console = Console()
    console.print(results_table([Metric.of(metric) for metric in results.metrics]))
    console.print(f"Results: {out}", highlight=False, soft_wrap=True)


def print_comparison(comparison: Comparison, *, as_json: bool) -> None:
    """The table before and after, what it means, and what a reader must know."""
    from declutch.reporting.console import comparison_table, verdict_text
    from declutch.reporting.values import Row
    from declutch.reporting.verdict import verdict

    if as_json:
        print_json(comparison.as_json())
        return
    rows = tuple(Row.of(row) for row in comparison.rows)
    console = Console()
    console.print(comparison_table(rows))
    console.print(verdict_text(verdict(rows)))
    for note in comparison.notes:
        console.print(f"Note: {note}", highlight=False)
