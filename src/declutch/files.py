"""Reading and writing files: whole or not at all, with errors that name the place."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from declutch.errors import FileFormatError

# The only way to read the mask is to set it; at import no other thread is there to mind.
_UMASK = os.umask(0)
os.umask(_UMASK)


_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.part(\.[^.]+)?")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; rename it (file or folder) to ``path`` when whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The ending is kept because writers (pandas, matplotlib) choose the format by it.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
    try:
        yield temporary
        # Some writers make files that only the owner can read.
        for file in temporary.rglob("*") if temporary.is_dir() else [temporary]:
            if file.is_file():
                file.chmod(0o666 & ~_UMASK)
        if path.is_dir() and temporary.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed process left; only while no other one writes."""
    for path in Path(folder).iterdir():
        if path.is_file() and _LEFTOVER.fullmatch(path.name):
            path.unlink()


def remove_leftovers_of(path: Path) -> None:
    """Remove what a killed process left of a folder that it wrote by :func:`atomic_path`."""
    for other in path.parent.glob(f".{glob.escape(path.stem)}.*.part{glob.escape(path.suffix)}"):
        if other.is_dir() and _LEFTOVER.fullmatch(other.name):
            shutil.rmtree(other)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, with a final newline."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON value a line, atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def append_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Append one JSON value a line and flush it to disk, so that an interrupted run can go on.

    A last line without a newline, left by a killed process, is dropped first.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with path.open("a+b") as file:
        _drop_torn_tail(file)
        file.write(text.encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())


def _drop_torn_tail(file: BinaryIO) -> None:
    """Cut a file after its last newline."""
    end = file.seek(0, os.SEEK_END)
    position = end
    while position:
        start = max(0, position - 4096)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            position = start + newline + 1
            break
        position = start
    if position < end:
        file.truncate(position)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FileFormatError: it is missing, or not valid JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileFormatError(f"{path} does not exist.") from error
    except OSError as error:
        raise FileFormatError(f"{path} can't be read: {error.strerror}.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} is not valid JSON: {error}.") from error


def read_jsonl(path: Path, *, drop_torn_tail: bool = False) -> list[Any]:
    """Read one JSON value a line.

    With ``drop_torn_tail`` a last line without a newline, left by a killed process, is dropped.

    Raises:
        FileFormatError: the file is missing, or a line is not valid JSON.
    """
    try:
        # In bytes: a torn line may end within a character.
        lines = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError as error:
        raise FileFormatError(f"{path} does not exist.") from error
    except OSError as error:
        raise FileFormatError(f"{path} can't be read: {error.strerror}.") from error
    if drop_torn_tail:
        lines = lines[:-1]
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line.decode("utf-8")))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise FileFormatError(f"{path}, line {number}: not valid JSON ({error}).") from error
    return rows


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path there; hidden ones excepted."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            found[name.as_posix()] = sha256_file(path)
    return found


def changed_files(folder: Path, hashes: Mapping[str, str]) -> list[str]:
    """Which of the files that :func:`hash_files` saw have other bytes now, or are gone."""
    return [
        name
        for name, known in hashes.items()
        if not (Path(folder) / name).is_file() or sha256_file(Path(folder) / name) != known
    ]


def sha256_json(value: Any) -> str:
    """SHA-256 of the canonical JSON (sorted keys, no spaces) of a value, in hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
