"""What ``declutch judge`` prints: tables of measured judges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.table import Table

from declutch.comparing.enough import TOO_FEW
from declutch.comparing.results import Metric
from declutch.judges.check import CheckedSet
from declutch.judges.embedding import EmbeddingFacts
from declutch.terminal import Terminal


def print_fitted(facts: EmbeddingFacts, out: Path) -> None:
    """The held-out figures of each dimension, and where the judge is."""
    console = Terminal()
    table = _table("On replies to prompts that it had not seen")
    for dimension, fitted in facts.dimensions.items():
        _add(table, dimension, fitted.held_out)
    console.print(table)
    for dimension, fitted in facts.dimensions.items():
        console.print(
            f"{dimension}: {fitted.aware} aware and {fitted.unaware} unaware replies to "
            f"{fitted.prompts} prompts, {fitted.folds} folds, AUC {fitted.auc:.3f} over "
            f"{fitted.aware + fitted.unaware} replies; left out: {fitted.duplicates} said twice, "
            f"{fitted.contradicted} labelled both ways.",
            soft_wrap=True,
        )
    console.print(f"Judge: embedding:{out}", soft_wrap=True)


def print_checked(judge: str, found: Iterable[CheckedSet]) -> None:
    """One row a labelled set."""
    console = Terminal()
    table = _table(f"«{judge}» against people's labels")
    for each in found:
        _add(table, each.labelled.name, each.metrics)
    console.print(table)
    for each in found:
        aware, total = sum(each.labelled.aware), len(each.labelled.aware)
        console.print(
            f"{each.labelled.name}: {aware} aware of {total}; {each.labelled.measures}"
            + (f"; {each.labelled.left_out} rows left out" if each.labelled.left_out else ""),
            soft_wrap=True,
        )


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("labels")
    table.add_column("figure")
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("95 %", no_wrap=True)
    return table


def _add(table: Table, name: str, metrics: Sequence[Metric]) -> None:
    for metric in metrics:
        figure = metric.name.rsplit("/", 1)[1].replace("_", " of ")
        share = "–" if metric.value is None else f"{metric.value:.2f}"
        interval = TOO_FEW if metric.too_few else ""
        if metric.low is not None and metric.high is not None:
            interval = f"{metric.low:.2f} to {metric.high:.2f}"
        table.add_row(name, figure, f"{metric.count}/{metric.total}", share, interval)
        name = ""
    table.add_section()
