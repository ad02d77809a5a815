"""What ``evaluate`` and ``compare`` print on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from declutch.cli.printing import print_json
from declutch.reporting import formats
from declutch.reporting.tables import NamedNumbers
from declutch.terminal import Terminal

if TYPE_CHECKING:
    from declutch.comparing.comparison import Comparison, ComparisonRow, MeasureTable
    from declutch.comparing.results import CheckRecord, Results


def print_evaluation(
    results: Results, comparison: Comparison | None, out: Path, *, as_json: bool
) -> None:
    """The metrics of one evaluation, against a baseline where there is one, and its guards."""
    if as_json:
        value = results.model_dump(mode="json")
        if comparison is not None:
            value["comparison"] = comparison.as_json()
        print_json(value)
        return
    from declutch.reporting.console import results_table

    console = Terminal()
    if comparison is None:
        console.print(results_table(results))
        _print_notes(console, results.settings.get("notes") or ())
        print_checks(console, results.guards)
    else:
        print_comparison(comparison, as_json=False)
    console.print(f"Results: {out}", soft_wrap=True)


def print_comparison(comparison: Comparison, *, as_json: bool) -> None:
    """The table before and after, the tests, what it means, and what a reader must know."""
    from declutch.reporting.conclusion import conclusion
    from declutch.reporting.console import comparison_table, conclusion_text

    if as_json:
        print_json(comparison.as_json())
        return
    console = Terminal()
    console.print(comparison_table(comparison.rows))
    # What a change is about; explanations would only make the table longer.
    tested = [row for row in comparison.rows if row.test and row.measure.role != "explanation"]
    if tested:
        console.print(_tests(tested))
    for table in comparison.tables.values():
        console.print(_table(table))
    console.print(conclusion_text(conclusion(comparison.rows)))
    _print_notes(console, comparison.notes)
    print_checks(console, comparison.checks)


def _table(found: MeasureTable) -> NamedNumbers:
    """What a measure has to show beside its metrics."""
    table = NamedNumbers(found.title, *found.columns[1:])
    for name, *cells in found.rows:
        table.row(name, *cells)
    return table


def _tests(rows: Sequence[ComparisonRow]) -> NamedNumbers:
    """The paired tests: how many items changed, p before and after Holm, effect, prompts."""
    table = NamedNumbers(
        "Paired tests", "Pairs", "Gained", "Lost", "p", "p Holm", "Effect", "Prompts\nneeded",
        caption="p Holm: adjusted for the number of these tests. Effect: Cohen's h of shares, "
        "d_z of means. Prompts needed: to see a difference of this size (power 0.8), if as many "
        "verdicts change.",
    )  # fmt: skip
    for row in rows:
        table.row(
            f"{row.measure.title} {row.metric.label}".replace(" · ", " "),
            (f"{row.n_pairs:,}", f"{row.clusters:,} clusters" if row.clusters else ""),
            _count(row.gained),
            _count(row.lost),
            formats.p_value(row.p).replace("< ", "<"),
            formats.p_value(row.p_holm).replace("< ", "<"),
            "" if row.effect is None else formats.signed(row.effect, 2),
            _count(row.prompts_needed),
        )
    return table


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _print_notes(console: Terminal, notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"Note: {note}")


def print_checks(console: Terminal, checks: Sequence[CheckRecord]) -> None:
    """A row for each guard and metric: whether it held, and why."""
    if not checks:
        return
    table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(f"Guard ({checks[0].mode})", overflow="fold", ratio=2)
    table.add_column("", no_wrap=True)
    table.add_column("Reason", overflow="fold", ratio=3)
    for guard in checks:
        outcome = Text("held", "green") if guard.held else Text("failed", "bold red")
        what = Text(guard.guard).append(f"\n  {guard.metric}".replace("/", " "), "dim")
        table.add_row(what, outcome, Text(guard.reason))
    console.print(table)
