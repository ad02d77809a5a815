"""Reading and writing files: whole or not at all, with errors that name the place."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import math
import os
import re
import shutil
import stat
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


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """The bytes of a file.

    Raises:
        FileFormatError: there is none, it is no plain file (a pipe or a device may never end), it
            is larger than ``most`` bytes, or it can't be read.
    """
    require_file(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read(-1 if most is None else most + 1)
    except OSError as error:
        raise FileFormatError(f"{path} can't be read: {error.strerror}.") from error
    if most is not None and len(data) > most:
        raise FileFormatError(f"{path} is larger than {most:,} bytes: it is something else.")
    return data


def expanded(path: Path | str) -> Path:
    """With ``~`` written out; as it is where nobody's home goes by that name."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_file(path: Path | str) -> bool:
    """Whether there is a plain file; a name that no file can have is none."""
    try:
        return Path(path).is_file()
    except OSError:  # longer than the file system allows, or in a folder that can't be read
        return False


def require_file(path: Path) -> None:
    """See that a path names a plain file.

    Raises:
        FileFormatError: it does not.
    """
    try:
        mode = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileFormatError(f"{path} does not exist.") from error
    except OSError as error:
        raise FileFormatError(f"{path} can't be read: {error.strerror}.") from error
    except ValueError as error:  # a NUL
        raise FileFormatError(f"{str(path)!r} is not the name of a file.") from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise FileFormatError(f"{path} can't be read: it is {what}, and not a file.")


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON, or nothing that can be used and written again: NaN, infinity,
            half of a pair of surrogates, an integer of thousands of digits, nesting beyond use.
    """
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        value = json.loads(text, parse_constant=_refuse_number, parse_float=_finite)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refuse_number(digits)


def _refuse_number(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FileFormatError: it is missing, or not valid JSON.
    """
    data = read_bytes(path)
    try:
        return parse_json(data)
    except ValueError as error:
        raise FileFormatError(f"{path} is not valid JSON: {error}.") from error


def read_jsonl(path: Path, *, drop_torn_tail: bool = False) -> list[Any]:
    """Read one JSON value a line.

    With ``drop_torn_tail`` a last line without a newline, left by a killed process, is dropped.

    Raises:
        FileFormatError: the file is missing, or a line is not valid JSON.
    """
    # In bytes: a torn line may end within a character.
    lines = read_bytes(path).split(b"\n")
    if drop_torn_tail:
        lines = lines[:-1]
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(parse_json(line))
        except ValueError as error:
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
        if not is_file(Path(folder) / name) or sha256_file(Path(folder) / name) != known
    ]


def sha256_json(value: Any) -> str:
    """SHA-256 of the canonical JSON (sorted keys, no spaces) of a value, in hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
