"""The YAML file of ``--config``: options by name, data sources as mappings."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any, Final

from cyclopts import App
from cyclopts.config import Dict

from declutch.errors import DataError, FileFormatError, SettingsError
from declutch.files import expanded, read_bytes

_SOURCES: Final = ("data", "couple", "exclude", "suite", "aware", "unaware")
"""Options that take NAME=SOURCE; in a file they may be mappings from name to source."""
_MOST_BYTES = 1 << 18
_MOST_VALUES = 10_000


def take_config(app: App, tokens: list[str]) -> list[str]:
    """Take ``--config FILE`` out of the arguments; the file gives options, flags win.

    Raises:
        SettingsError: the file is missing, or is no YAML mapping of option names to values.
    """
    rest: list[str] = []
    path: str | None = None
    remaining = iter(tokens)
    for token in remaining:
        if token == "--config":
            path = next(remaining, "")
        elif token.startswith("--config="):
            path = token.partition("=")[2]
        else:
            rest.append(token)
    if path == "":
        raise SettingsError("--config needs the name of a file.")
    app.config = ()
    if path is not None:
        # Under the command's name, since at the top cyclopts takes no option for one that is
        # called like a command (judge).
        app.config = (Dict({"".join(rest[:1]): read_config(expanded(path))}, source=path),)
    return rest


def read_config(path: Path) -> dict[str, Any]:
    """The options in a YAML file.

    Raises:
        SettingsError: it is missing or too large, not YAML, or no mapping from names to values.
    """
    import yaml

    try:
        data = read_bytes(path, _MOST_BYTES)
    except FileFormatError as error:
        raise SettingsError(f"--config: {error}") from error
    try:
        value = yaml.safe_load(data)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(f"--config {path}{where}: not valid YAML ({error.problem}).") from error
    except yaml.reader.ReaderError as error:
        raise SettingsError(
            f"--config {path}{_line(data, error.encoding, error.position)}: not valid YAML "
            f"(the character 0x{error.character:02x}: {error.reason}). Save the file as UTF-8 text."
        ) from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        # A date of month 13 and an integer of 6,000 digits; tags that do not fit their values.
        reason = str(error).split("\n")[0]
        raise SettingsError(f"--config {path}: not valid YAML: {reason}.") from error
    except RecursionError as error:
        raise SettingsError(f"--config {path}: its values are nested too deeply.") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SettingsError(
            f"--config {path} must hold options by name, as «num-samples: 64» on a line of its "
            "own: a mapping from names to values is needed."
        )
    _check(path, value)
    top: Any = yaml.compose(data, yaml.SafeLoader)
    _check_once(path, [key.value for key, _ in top.value])
    for name in _SOURCES:
        if isinstance(value.get(name), dict):
            value[name] = _sources(value[name], path, name)
    return value


def _line(data: bytes, encoding: str, position: int) -> str:
    """Where a character is that YAML does not take, as far as it can be told."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16
        return ""
    before = data[:position].decode("utf-8", "replace")
    if encoding == "unicode":  # the position counts characters
        before = data.decode("utf-8", "replace")[:position]
    return f", line {before.count(chr(10)) + 1}"


def _sources(sources: dict[str, Any], path: Path, option: str) -> list[str]:
    """Sources by name, as NAME=SOURCE."""
    from declutch.data.sources import Source

    found = []
    for name, source in sources.items():
        try:
            found.append(f"{name}={source if isinstance(source, str) else Source.parse(source)}")
        except DataError as error:
            raise DataError(f"--config {path}, {option}, {name}: {error}") from error
    return found


def _check_once(path: Path, keys: list[str]) -> None:
    """See that no option is given twice: YAML takes the last of two keys without a word."""
    found: dict[str, str] = {}
    for key in keys:
        if other := found.get(option := key.replace("_", "-")):
            raise SettingsError(
                f"--config {path} gives one option twice, as «{other}» and as «{key}». Keep one."
            )
        found[option] = key


def _check(path: Path, value: dict[Any, Any]) -> None:
    """See that keys are text, values are plain, and aliases do not multiply."""
    waiting: list[tuple[str, Any]] = [("", value)]
    for _ in range(_MOST_VALUES):
        if not waiting:
            return
        place, one = waiting.pop()
        if isinstance(one, dict):
            for key in one:
                if not isinstance(key, str):
                    raise SettingsError(
                        f"--config {path}{place}: the key {key!r} is no text. Put a name that YAML "
                        "takes for something else (2, on, null) in quotes."
                    )
            waiting += ((f"{place}, {key}", inner) for key, inner in one.items())
        elif isinstance(one, list):
            waiting += ((place, inner) for inner in one)
        elif not isinstance(one, str | int | float | date | None):
            raise SettingsError(
                f"--config {path} holds a value of YAML's type {type(one).__name__}, which no "
                "option takes."
            )
    raise SettingsError(f"--config {path} holds more than {_MOST_VALUES:,} values.")
