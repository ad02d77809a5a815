"""What ``declutch judge`` prints: tables of measured judges."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from declutch.evaluation.judges.check import CheckedSet
from declutch.evaluation.judges.embedding import EmbeddingFacts
from declutch.evaluation.results import Metric

_COLUMNS = ("accuracy", "precision_aware", "recall_aware", "unparsed")


def share(metric: Metric) -> str:
    """«31/40, 0.78 (0.63 to 0.88)»: count, share and 95 % interval."""
    if metric.value is None or metric.low is None or metric.high is None:
        return f"{metric.count}/{metric.total}"
    return (
        f"{metric.count}/{metric.total}, {metric.value:.2f} ({metric.low:.2f} to {metric.high:.2f})"
    )


def print_fitted(facts: EmbeddingFacts, out: Path) -> None:
    """The held-out figures of each dimension, and where the judge is."""
    console = Console()
    table = _table("Held-out replies, each judged without its prompt's other replies (95 %)")
    for dimension, fitted in facts.dimensions.items():
        table.add_row(dimension, *_cells(fitted.held_out))
    console.print(table)
    for dimension, fitted in facts.dimensions.items():
        console.print(
            f"{dimension}: {fitted.aware} aware and {fitted.unaware} unaware replies to "
            f"{fitted.prompts} prompts, {fitted.folds} folds, AUC {fitted.auc:.3f} over "
            f"{fitted.aware + fitted.unaware} replies; left out: {fitted.duplicates} said twice, "
            f"{fitted.contradicted} labelled both ways.",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"Judge: embedding:{out}", highlight=False, soft_wrap=True)


def print_checked(judge: str, found: Iterable[CheckedSet]) -> None:
    """One row a labelled set."""
    console = Console()
    table = _table(f"«{judge}» against people's labels (95 %)")
    for each in found:
        table.add_row(each.labelled.name, *_cells(each.metrics))
    console.print(table)
    for each in found:
        aware, total = sum(each.labelled.aware), len(each.labelled.aware)
        console.print(
            f"{each.labelled.name}: {aware} aware of {total}; {each.labelled.measures}"
            + (f"; {each.labelled.left_out} rows left out" if each.labelled.left_out else ""),
            highlight=False,
            soft_wrap=True,
        )


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("labels")
    for column in _COLUMNS:
        table.add_column(column.replace("_", " of "))
    return table


def _cells(metrics: Iterable[Metric]) -> list[str]:
    found = {metric.name.rsplit("/", 1)[1]: metric for metric in metrics}
    return [share(found[column]) for column in _COLUMNS]
