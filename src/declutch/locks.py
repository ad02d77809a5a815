"""One process a folder: a lock that the system takes back when the process that holds it ends."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from filelock import FileLock, Timeout

from declutch.errors import SettingsError
from declutch.files import remove_leftovers, remove_leftovers_of

LOCK_FILE = ".lock"

P = ParamSpec("P")
T = TypeVar("T")


class FolderLock:
    """Keeps other processes from writing to a folder; made with None, it does nothing.

    The lock file stays where it is, since to remove it could let two processes in at once; only a
    folder that was made for the lock and has nothing else in it goes again.
    """

    def __init__(self, folder: Path | str | None) -> None:
        self._folder = Path(folder) if folder is not None else None
        self._lock = FileLock(self._folder / LOCK_FILE) if self._folder else None
        self._made = False

    def acquire(self) -> None:
        """Take it, and clear away what a killed holder left half-written.

        Raises:
            SettingsError: another process has it, or nothing can be written there.
        """
        if self._folder is None or self._lock is None:
            return
        try:
            self._made = not self._folder.exists()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise _taken(self._folder) from error
        except OSError as error:
            raise SettingsError(
                f"{self._folder} can't be written to: {error.strerror or error}. Give another -o."
            ) from error
        remove_leftovers(self._folder)

    def release(self) -> None:
        """Give it back; nothing happens where it is not held."""
        if self._folder is None or self._lock is None or not self._lock.is_locked:
            return
        if self._made and [path.name for path in self._folder.iterdir()] == [LOCK_FILE]:
            (self._folder / LOCK_FILE).unlink()
            self._folder.rmdir()
        self._lock.release()


@contextlib.contextmanager
def locked(folder: Path | str | None) -> Iterator[None]:
    """Hold a folder's lock inside a ``with`` block; for None, do nothing.

    Raises:
        SettingsError: another process has it.
    """
    lock = FolderLock(folder)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def locked_beside(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder that comes whole under its name, so that none can be in it.

    The temporary folders that a killed process left beside it are removed.

    Raises:
        SettingsError: another process is writing it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}{LOCK_FILE}"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise _taken(folder) from error
    try:
        remove_leftovers_of(folder)
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _taken(folder: Path) -> SettingsError:
    return SettingsError(
        f"Another process is writing to {folder}. Wait for it to end, or give another -o."
    )


def locks_out(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function hold the lock of the folder that it is given as ``out``, by keyword."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        out: Any = kwargs.get("out")
        with locked(out):
            return function(*args, **kwargs)

    return call
