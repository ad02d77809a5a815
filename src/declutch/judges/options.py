"""The small language of ``--judge``: a name, and options after a colon.

``NAME``, ``NAME:VALUE`` or ``NAME:key=value,key=value``. VALUE without a key is what the judge
mostly needs: its model, or its folder. A value holds no comma; it may hold ``=``, ``:`` and ``/``.
``panel`` alone takes several values without a key, each a judge; «;» is a comma within one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from declutch.errors import SettingsError
from declutch.files import expanded, is_file
from declutch.registry import split_name

FIRST = ""
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0")


class Options:
    """What a user wrote after a judge's name; every option must be taken, or :meth:`done` objects.

    Args:
        judge: the judge's name, for messages.
        values: by key; the value without a key under ``""``.
    """

    def __init__(self, judge: str, values: Mapping[str, str] | None = None) -> None:
        self.judge = judge
        self._values = dict(values or {})
        self._known: list[str] = []

    def text(self, key: str, default: str | None = None, *, first: bool = False) -> str | None:
        """The value of a key; with ``first`` also the value that has no key.

        Raises:
            SettingsError: it is given both ways.
        """
        self._known.append(key)
        if first and FIRST in self._values:
            if key in self._values or "," in self._values[FIRST]:
                raise SettingsError(f"The judge «{self.judge}» is given {key} twice.")
            return self._values.pop(FIRST)
        return self._values.pop(key, default)

    def several(self) -> list[str]:
        """The values that have no key, with a comma for each «;»."""
        values = self._values.pop(FIRST, "").split(",")
        return [value.replace(";", ",") for value in values if value]

    def needed(self, key: str, what: str, *, first: bool = False) -> str:
        """The value of a key that has no default.

        Raises:
            SettingsError: it is missing.
        """
        value = self.text(key, first=first)
        if not value:
            raise SettingsError(f"The judge «{self.judge}» needs {key}={what}.")
        return value

    def file(self, key: str) -> Path | None:
        """The path of a file that is there.

        Raises:
            SettingsError: there is no such file.
        """
        value = self.text(key)
        if value is None:
            return None
        path = expanded(value)
        if not is_file(path):
            raise SettingsError(f"The judge «{self.judge}»: {key}={value} is not a file.")
        return path

    def number(self, key: str, default: float, *, low: float, high: float = math.inf) -> float:
        """A number between two ends.

        Raises:
            SettingsError: it is no number, or out of range.
        """
        value = self.text(key)
        if value is None:
            return default
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not low <= number <= high or math.isinf(number):
            ends = f"of at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
            raise SettingsError(f"The judge «{self.judge}»: {key}={value} must be a number {ends}.")
        return number

    def whole(self, key: str, default: int, *, low: int = 1) -> int:
        """A whole number.

        Raises:
            SettingsError: it is none, or too small.
        """
        number = self.number(key, default, low=low)
        if number != int(number):
            raise SettingsError(f"The judge «{self.judge}»: {key}={number:g} must be whole.")
        return int(number)

    def choice(self, key: str, choices: Sequence[str]) -> str:
        """One of several words, the first of which is the default.

        Raises:
            SettingsError: it is another.
        """
        value = self.text(key) or choices[0]
        if value not in choices:
            raise SettingsError(
                f"The judge «{self.judge}»: {key}={value} must be {' or '.join(choices)}."
            )
        return value

    def flag(self, key: str) -> bool:
        """``yes`` or ``no``; no by default.

        Raises:
            SettingsError: it is neither.
        """
        value = (self.text(key) or "no").lower()
        if value not in (*_YES, *_NO):
            raise SettingsError(f"The judge «{self.judge}»: {key}={value} must be yes or no.")
        return value in _YES

    def done(self) -> None:
        """Object to what nobody took.

        Raises:
            SettingsError: an option is unknown.
        """
        if FIRST in self._values:
            raise SettingsError(
                f"The judge «{self.judge}» does not know what to do with "
                f"«{self._values[FIRST]}». Write key=value."
            )
        if self._values:
            known = ", ".join(sorted(set(self._known)))
            raise SettingsError(
                f"The judge «{self.judge}» has no option «{next(iter(self._values))}». "
                + (f"It knows: {known}." if known else "It has none.")
            )


def split_reference(reference: str) -> tuple[str, Options]:
    """The judge's name and the options that stand after it.

    Raises:
        SettingsError: an option is written twice, or has no value.
    """
    name, rest = split_name(reference)
    values: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in (rest or "").split(","))):
        key, equals, value = part.partition("=")
        # A path or a model's id may hold «=» only after a «/», where no key does.
        if not equals or not key.replace("-", "").replace("_", "").isalnum():
            key, value = FIRST, part
        key = key.strip().replace("_", "-")
        if key == FIRST and FIRST in values:
            value = f"{values[FIRST]},{value}"
        elif key in values:
            raise SettingsError(f"The judge «{reference}» gives «{key or value}» twice.")
        if not value.strip():
            raise SettingsError(f"The judge «{reference}» gives {key} no value.")
        values[key] = value.strip()
    return name, Options(name, values)
