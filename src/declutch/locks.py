"""One process a folder: a lock that the system takes back when the process that holds it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from declutch.errors import SettingsError
from declutch.files import remove_leftovers, remove_leftovers_of

LOCK_FILE = ".lock"


@contextlib.contextmanager
def locked(folder: Path | str | None) -> Iterator[None]:
    """Keep other processes from writing to a folder inside a ``with`` block; for None, do nothing.

    What a killed holder left half-written is cleared away. The lock file stays where it is, since
    to remove it could let two processes in at once; only a folder that was made for the lock and
    has nothing else in it goes again.

    Raises:
        SettingsError: another process has it, or nothing can be written there.
    """
    if folder is None:
        yield
        return
    folder = Path(folder)
    lock = FileLock(folder / LOCK_FILE)
    try:
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise _taken(folder) from error
    except OSError as error:
        raise SettingsError(
            f"{folder} can't be written to: {error.strerror or error}. Give another -o."
        ) from error
    try:
        remove_leftovers(folder)
        yield
    finally:
        if made and [path.name for path in folder.iterdir()] == [LOCK_FILE]:
            (folder / LOCK_FILE).unlink()
            folder.rmdir()
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
