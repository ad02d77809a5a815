"""Progress and messages on stderr; results alone go to stdout."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import ClassVar, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

log = logging.getLogger("declutch")
console = Console(stderr=True)


class _ConsoleHandler(logging.Handler):
    """Prints above a running progress bar, without splitting it."""

    _STYLES: ClassVar = {logging.WARNING: "yellow", logging.ERROR: "red", logging.DEBUG: "dim"}

    def emit(self, record: logging.LogRecord) -> None:
        style = self._STYLES.get(record.levelno)
        console.print(
            self.format(record), style=style, markup=False, highlight=False, soft_wrap=True
        )


def set_verbosity(level: int) -> None:
    """Set how much is said: -1 errors only, 0 the steps (default), 1 or more details."""
    log.handlers = [_ConsoleHandler()]
    log.setLevel({-1: logging.ERROR, 0: logging.INFO}.get(level, logging.DEBUG))
    log.propagate = False


def progress_bar(*, transient: bool = True) -> Progress:
    """The one look of every progress bar; silent where only errors are wanted."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=transient,
        disable=not log.isEnabledFor(logging.INFO),
    )


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar that goes away when done."""
    with progress_bar() as bar:
        yield from bar.track(items, total=total, description=description)
