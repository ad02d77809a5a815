"""What ``evaluate`` and ``compare`` print on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from declutch.cli.printing import print_json
from declutch.reporting import formats
from declutch.reporting.tables import NamedNumbers
from declutch.reporting.values import Metric, Row
from declutch.terminal import Terminal

if TYPE_CHECKING:
    from declutch.comparing.compare import Comparison, ComparisonRow
    from declutch.comparing.results import GuardRecord, Results
    from declutch.measures.wording import WordingRow

# What a change is about; kinds of replies and layers would only make the table longer.
_TESTED_GROUPS = ("awareness", "over_refusal", "margin", "perplexity", "capability")


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
        console.print(results_table([Metric.of(metric) for metric in results.metrics]))
        _print_notes(console, results.settings.get("notes") or ())
        _print_guards(console, results.guards)
    else:
        print_comparison(comparison, as_json=False)
    console.print(f"Results: {out}", soft_wrap=True)


def print_comparison(comparison: Comparison, *, as_json: bool) -> None:
    """The table before and after, the tests, what it means, and what a reader must know."""
    from declutch.reporting.console import comparison_table, verdict_text

    if as_json:
        print_json(comparison.as_json())
        return
    rows = tuple(Row.of(row) for row in comparison.rows)
    console = Terminal()
    console.print(comparison_table(rows))
    tested = [row for row in comparison.rows if row.test and row.before.group in _TESTED_GROUPS]
    if tested:
        console.print(_tests(tested))
    if comparison.wording:
        console.print(_wording(comparison.wording))
    console.print(verdict_text(verdict(rows)))
    _print_notes(console, comparison.notes)
    _print_guards(console, comparison.guards)


def _wording(rows: Sequence[WordingRow]) -> NamedNumbers:
    """The phrases whose use changed most, times in 1,000 words."""
    table = NamedNumbers(
        "Phrases found to shift", "Before", "After", "per 1,000 words, 95 %", "p Holm"
    )
    for row in rows:
        table.row(
            f"{row.dimension}: {row.phrase}",
            f"{row.before} ({row.before_replies} replies)",
            f"{row.after} ({row.after_replies} replies)",
            f"{row.low:+.1f} to {row.high:+.1f}",
            formats.p_value(row.p_holm),
        )
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
            _in_words(row.before),
            f"{row.n_pairs:,}",
            _count(row.gained),
            _count(row.lost),
            formats.p_value(row.p).replace("< ", "<"),
            formats.p_value(row.p_holm).replace("< ", "<"),
            "" if row.effect is None else formats.signed(row.effect, 2),
            _count(row.prompts_needed),
        )
    return table


def _in_words(metric: Any) -> str:
    shown = Metric.of(metric)
    return f"{shown.group_title} {shown.label}".replace(" · ", " ")


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _print_notes(console: Terminal, notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"Note: {note}")


def _print_guards(console: Terminal, guards: Sequence[GuardRecord]) -> None:
    """A row for each guard and metric: whether it held, and why."""
    if not guards:
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(f"Guard ({guards[0].mode})", overflow="fold", ratio=2)
    table.add_column("", no_wrap=True)
    table.add_column("Reason", overflow="fold", ratio=3)
    for guard in guards:
        outcome = Text("held", "green") if guard.held else Text("failed", "bold red")
        what = Text(guard.guard).append(f"\n  {guard.metric}".replace("/", " "), "dim")
        table.add_row(what, outcome, Text(guard.reason))
    console.print(table)
