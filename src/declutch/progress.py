"""Progress and messages on stderr; results alone go to stdout."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sized
from typing import ClassVar, TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from declutch.terminal import Terminal

T = TypeVar("T")

log = logging.getLogger("declutch")
console = Terminal(stderr=True)


class _ConsoleHandler(logging.Handler):
    """Prints above a running progress bar, without splitting it."""

    _STYLES: ClassVar = {logging.WARNING: "yellow", logging.ERROR: "red", logging.DEBUG: "dim"}

    def emit(self, record: logging.LogRecord) -> None:
        style = self._STYLES.get(record.levelno)
        console.print(self.format(record), style=style, soft_wrap=True)


def set_verbosity(level: int) -> None:
    """Set how much is said: -1 errors only, 0 the steps (default), 1 or more details."""
    log.handlers = [_ConsoleHandler()]
    log.setLevel({-1: logging.ERROR, 0: logging.INFO}.get(level, logging.DEBUG))
    log.propagate = False


def progress_bar() -> Progress:
    """The one look of every progress bar: gone when done, silent where only errors are wanted.

    Where stderr is no terminal (a log file) there is no bar; :func:`announce` leaves a line.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (console.is_terminal and log.isEnabledFor(logging.INFO)),
    )


def announce(description: str, total: int | None) -> None:
    """Say in a log file that a long step begins; on a terminal its bar does."""
    if not console.is_terminal:
        log.info("%s%s", description, f" ({total})" if total is not None else "")


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar that goes away when done."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    announce(description, total)
    with progress_bar() as bar:
        yield from bar.track(items, total=total, description=description)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No bars and no steps for the time, only warnings: for what is done over and over."""
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)
