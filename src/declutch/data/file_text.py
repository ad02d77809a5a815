"""The text of a file of the user's, whatever a browser, a spreadsheet or gzip made of it."""

from __future__ import annotations

import gzip
import stat
import zlib
from pathlib import Path
from typing import Final

from declutch.errors import DataError
from declutch.files import expanded

LARGEST: Final = 4 * 2**30
"""Most bytes of a text file, unpacked: it is read whole."""

_GZIP = b"\x1f\x8b"
# The longer mark first: UTF-32 begins like UTF-16.
_MARKS: Final = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_OTHERS: Final = (
    (b"PK\x03\x04", "a zip archive or a workbook of a spreadsheet program: unpack it, or save the "
     "sheet as CSV"),
    (b"PAR1", "a Parquet file: give its name the ending .parquet"),
    (b"BZh", "packed with bzip2: unpack it (bunzip2)"),
    (b"\xfd7zXZ", "packed with xz: unpack it (unxz)"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd: unpack it (unzstd)"),
)  # fmt: skip
_POINTER = b"version https://git-lfs.github.com/spec/"


def find_file(path: str) -> Path:
    """The file of a name, «~» understood.

    Raises:
        DataError: it is not there, is no regular file, or is a pointer of Git LFS.
    """
    try:
        file = expanded(path)
        mode = file.stat().st_mode
    except FileNotFoundError as error:
        where = "" if Path(path).is_absolute() else f" (looked for in {Path.cwd()})"
        raise DataError(f"The file {path} does not exist{where}.") from error
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if stat.S_ISDIR(mode):
        raise DataError(f"The file {path} is a folder, not a file.")
    if not stat.S_ISREG(mode):
        raise DataError(
            f"The file {path} is a pipe or a device, not a regular file. Write the data to a "
            "file first."
        )
    with file.open("rb") as opened:
        if opened.read(len(_POINTER)) == _POINTER:
            raise DataError(
                f"{path} is a pointer of Git LFS, not the data. Fetch them with «git lfs pull» in "
                "that folder."
            )
    return file


def unreadable(path: str, error: Exception) -> DataError:
    """What to say of a file that the system does not give."""
    said = getattr(error, "strerror", None) or " ".join(str(error).split())
    return DataError(f"The file {path[:300]} can't be read: {said}.")


def file_text(path: Path) -> str:
    """The text of a file: UTF-8, or UTF-16 or UTF-32 with a mark at its beginning; or gzip of such.

    Raises:
        DataError: it is too large, damaged, packed in another way, or in another encoding.
    """
    data = _unpacked(path)
    if other := next((what for mark, what in _OTHERS if data.startswith(mark)), None):
        raise DataError(f"{path} is {other}.")
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8-sig")
    if encoding == "utf-8-sig" and (at := data.find(b"\0")) >= 0:
        raise _nul(path, data.count(b"\n", 0, at) + 1)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise DataError(
                f"{path} begins like {encoding.upper()} and is damaged ({error.reason}). Save the "
                "file as UTF-8."
            ) from error
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: the byte 0x{data[error.start]:02x} is not UTF-8. Save the file "
            "as UTF-8."
        ) from error
    if (at := text.find("\0")) >= 0:
        raise _nul(path, text.count("\n", 0, at) + 1)
    return text


def _nul(path: Path, line: int) -> DataError:
    return DataError(
        f"{path}, line {line}: a NUL, which no text holds. The file is damaged, or UTF-16 without "
        "a mark: save it as UTF-8."
    )


def _unpacked(path: Path) -> bytes:
    with path.open("rb") as file:
        packed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        if not packed:
            return _bounded(path, file.read(LARGEST + 1))
        try:
            with gzip.GzipFile(fileobj=file) as unpacking:
                return _bounded(path, unpacking.read(LARGEST + 1))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{path} is packed with gzip and damaged: {error}.") from error


def _bounded(path: Path, data: bytes) -> bytes:
    if len(data) > LARGEST:
        raise DataError(
            f"{path} holds more than {LARGEST / 2**30:.0f} GiB of text. Take a part of it, or "
            "convert it to Parquet, which is read in pieces."
        )
    return data
