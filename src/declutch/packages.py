"""Data files of other packages: installed, in a wheel, or in a folder. None is ever imported."""

from __future__ import annotations

import importlib.util
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from declutch.files import expanded, is_file

Files = Path | zipfile.Path


def package_files(
    package: str, inside: str, holds: str, place: Path | str | None = None
) -> Files | None:
    """A folder of a package, which can be read alike on disk and in a wheel; None if there is none.

    Args:
        inside: the folder, as seen from the package: ``data/donotanswer``.
        holds: a file or folder that must be in it.
        place: a wheel, or a folder: the one that is meant, or one in which the package or the
            package's files lie. Where it is None, the installed package is looked for.
    """
    for folder in _places(package, inside, expanded(place) if place is not None else None):
        if (folder / holds).exists():
            return folder
    return None


def _places(package: str, inside: str, place: Path | None) -> Iterator[Files]:
    if place is None:
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            return
        for found in (spec.submodule_search_locations or ()) if spec is not None else ():
            yield Path(found) / inside
    elif os.path.isdir(place):  # which takes a name that no folder can have
        yield from (place / package / inside, place / inside, place)
    elif is_file(place) and zipfile.is_zipfile(place):
        yield zipfile.Path(place) / package / inside
