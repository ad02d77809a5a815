"""What ``declutch judge`` prints: tables of measured judges."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.table import Table

from declutch.comparing.enough import TOO_FEW
from declutch.comparing.results import Metric
from declutch.judges.check import CheckedSet
from declutch.judges.embedding import EmbeddingFacts
from declutch.reporting import console
from declutch.terminal import Terminal


def print_fitted(facts: EmbeddingFacts, out: Path) -> None:
    """The held-out figures of each dimension, and where the judge is."""
    screen = Terminal()
    table = _table("On replies to prompts that it had not seen")
    for dimension, fitted in facts.dimensions.items():
        _add(table, dimension, fitted.held_out)
    screen.print(table)
    for dimension, fitted in facts.dimensions.items():
        screen.print(
            f"{dimension}: {fitted.aware} aware and {fitted.unaware} unaware replies to "
            f"{fitted.prompts} prompts, {fitted.folds} folds, AUC {fitted.auc:.3f} over "
            f"{fitted.aware + fitted.unaware} replies; left out: {fitted.duplicates} said twice, "
            f"{fitted.contradicted} labelled both ways.",
            soft_wrap=True,
        )
    screen.print(f"Judge: embedding:{out}", soft_wrap=True)


def print_checked(judge: str, found: Iterable[CheckedSet]) -> None:
    """One row a labelled set."""
    screen = Terminal()
    table = _table(f"«{judge}» against people's labels")
    for each in found:
        _add(table, each.labelled.name, each.metrics)
    screen.print(table)
    for each in found:
        counts = Counter(each.labelled.labels).most_common()
        screen.print(
            f"{each.labelled.name}: {', '.join(f'{n} {label}' for label, n in counts)}; "
            f"{each.labelled.measures}"
            + (f"; {each.labelled.left_out} rows left out" if each.labelled.left_out else ""),
            soft_wrap=True,
        )


def _table(title: str) -> Table:
    table = console.table("labels", "figure", "count", "share", "95 %", words=2)
    table.title, table.title_justify = title, "left"
    return table


def _add(table: Table, name: str, metrics: Sequence[Metric]) -> None:
    for metric in metrics:
        figure = metric.name.rsplit("/", 1)[1]
        figure = re.sub("^(precision|recall)_", r"\1 of ", figure).replace("_", " ")
        share = "–" if metric.value is None else f"{metric.value:.2f}"
        interval = TOO_FEW if metric.too_few else ""
        if metric.low is not None and metric.high is not None:
            interval = f"{metric.low:.2f} to {metric.high:.2f}"
        table.add_row(name, figure, f"{metric.count}/{metric.total}", share, interval)
        name = ""
    table.add_section()
