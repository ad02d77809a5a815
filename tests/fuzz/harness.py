"""One damaged input after another into a reader, and what came out."""

from __future__ import annotations

import os
import re
import shutil
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from declutch.errors import DeclutchError
from tests.fuzz.mutations import damaged, damaged_text

_PATIENCE = 20  # seconds for one input, a thousand times what one takes


class TookTooLong(BaseException):
    """A reader did not come back."""


@dataclass(frozen=True)
class TextReader:
    """Reads a text: some of the samples, damaged.

    Attributes:
        share: of all inputs that are tried.
    """

    name: str
    share: float
    samples: Callable[[Path], tuple[str, ...]]
    read: Callable[[str, Path], Any]

    @contextmanager
    def inputs(self, folder: Path) -> Iterator[Callable[[Random], Callable[[], Any]]]:
        """A function from a generator of random numbers to one try."""
        folder.mkdir(parents=True)
        samples = self.samples(folder)

        def make(random: Random) -> Callable[[], Any]:
            text = damaged_text(random, random.choice(samples))
            return lambda: self.read(text, folder)

        yield make


@dataclass(frozen=True)
class FolderReader:
    """Reads a folder: one or two of its files damaged, gone, or something else than a file.

    Attributes:
        make: writes a whole folder.
        files: pattern of the files that are damaged.
        share: of all inputs that are tried.
    """

    name: str
    share: float
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    files: str = "*"

    @contextmanager
    def inputs(self, folder: Path) -> Iterator[Callable[[Random], Callable[[], Any]]]:
        """A function from a generator of random numbers to one try."""
        folder.mkdir(parents=True)
        self.make(folder)
        whole = _contents(folder)
        names = sorted(n for n in whole if Path(n).match(self.files))

        def make(random: Random) -> Callable[[], Any]:
            _restore(folder, whole)
            for name in random.sample(names, min(len(names), random.choice((1, 1, 1, 2)))):
                _damage(random, folder / name, whole[name])
            return lambda: self.read(folder)

        yield make


Reader = TextReader | FolderReader


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _restore(folder: Path, whole: dict[str, bytes]) -> None:
    """Bring a folder back to what it was, whatever the last try left."""
    for path in sorted(folder.rglob("*"), reverse=True):
        name = str(path.relative_to(folder))
        if path.is_dir() and not path.is_symlink():
            if name in whole:
                shutil.rmtree(path)
            elif not any(path.iterdir()):
                path.rmdir()
        elif name not in whole or path.is_symlink() or not path.is_file():
            path.unlink()
    for name, data in whole.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != len(data) or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


_held: list[int] = []


def _damage(random: Random, path: Path, data: bytes) -> None:
    choice = random.randrange(60)
    if choice > 4:
        path.write_bytes(damaged(random, path.name, data))
        return
    path.unlink()
    if choice == 1:
        path.mkdir()
    elif choice == 2:
        os.mkfifo(path)
        # With an end held open a reader waits for what it reads, where the alarm can wake it.
        for end in _held:
            os.close(end)
        _held[:] = [os.open(path, os.O_RDWR | os.O_NONBLOCK)]
    elif choice == 3:
        path.symlink_to(path)
    elif choice == 4:
        path.symlink_to("/dev/zero")


@dataclass
class Tally:
    """What came of a reader's inputs.

    Attributes:
        outcomes: by what came out: «read», or the error's class and message without its details.
        failures: of each kind the number, the first input and its traceback.
    """

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: dict[str, tuple[int, int, str]] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Count what another process found."""
        self.inputs += other.inputs
        self.outcomes += other.outcomes
        for kind, (count, index, text) in other.failures.items():
            mine = self.failures.get(kind, (0, index, text))
            self.failures[kind] = (mine[0] + count, *mine[1:])


def try_reader(
    reader: Reader,
    folder: Path,
    seed: int,
    indices: range,
    before: Callable[[int], None] = lambda index: None,
) -> Tally:
    """Try a reader on inputs of these numbers; each depends on the seed and its number alone."""
    tally = Tally()
    signal.signal(signal.SIGALRM, _give_up)
    with reader.inputs(folder / reader.name) as make:
        for index in indices:
            before(index)
            attempt = make(Random(f"{seed}/{reader.name}/{index}"))
            tally.inputs += 1
            signal.alarm(_PATIENCE)
            try:
                attempt()
                tally.outcomes["read"] += 1
            except DeclutchError as error:
                tally.outcomes[_kind(error)] += 1
            except (Exception, TookTooLong) as error:
                kind = f"{type(error).__name__} {_place(error)}"
                count, first, text = tally.failures.get(kind, (0, index, _shown(error)))
                tally.failures[kind] = (count + 1, first, text)
            finally:
                signal.alarm(0)
    return tally


def _give_up(*_: object) -> None:
    raise TookTooLong(f"more than {_PATIENCE} s")


def _kind(error: DeclutchError) -> str:
    words = re.sub(r"«[^»]*»|'[^']*'|\"[^\"]*\"|/\S+|\d+", "…", str(error))
    return f"{type(error).__name__}: {words[:60]}"


def _place(error: BaseException) -> str:
    """Where in declutch it came out."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/declutch/" in frame.filename] or frames
    where = own[-1].filename.partition("/declutch/")[2] or own[-1].filename
    return f"in {where}:{own[-1].lineno}"


def _shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-1500:]
