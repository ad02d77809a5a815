"""The YAML file of ``--config``: options by name, data sources as mappings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from declutch.data.file_text import file_text, find_file
from declutch.errors import DataError, SettingsError

_SOURCES: Final = ("data", "couple", "exclude", "suite", "aware", "unaware")
"""Options that take NAME=SOURCE; in a file they may be mappings from name to source."""


def read_config(path: str) -> dict[str, Any]:
    """The options in a file, as the command line would be given them.

    Raises:
        SettingsError: it can't be read, is not valid YAML, or is no mapping.
        DataError: a source in it is wrong.
    """
    try:
        value = yaml.safe_load(file_text(find_file(path)))
    except DataError as error:
        raise SettingsError(f"--config: {error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(f"--config {path}{where}: not valid YAML ({error.problem}).") from error
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        said = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise SettingsError(f"--config {path} can't be read: {said[:300]}.") from error
    if value is None:
        return {}
    options = _named(value, f"--config {path}")
    for name in _SOURCES:
        if isinstance(options.get(name), Mapping):
            options[name] = _sources(_named(options[name], f"--config {path}, {name}"), path, name)
    return options


def _named(value: object, place: str) -> dict[str, Any]:
    """A mapping whose keys are text; YAML reads «no» and «1» as something else."""
    if not isinstance(value, Mapping):
        raise SettingsError(f"{place}: a mapping from names to values is needed.")
    for key in value:
        if not isinstance(key, str):
            raise SettingsError(f"{place}: the key {key} is no text. Put it in quotes.")
    return dict(value)


def _sources(sources: dict[str, Any], path: str, option: str) -> list[str]:
    """Sources by name, as NAME=SOURCE."""
    from declutch.data.sources import Source

    found = []
    for name, source in sources.items():
        try:
            found.append(f"{name}={source if isinstance(source, str) else Source.parse(source)}")
        except DataError as error:
            raise DataError(f"--config {path}, {option}, {name}: {error}") from error
    return found
