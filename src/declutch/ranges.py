"""What an option may be, said once: in its type.

``num_samples: Count`` declares the range where the option is declared. The command line checks the
arguments of a command and the library its settings, both with :func:`check_ranges` or what it is
made of, so that nothing out of range gets further than that.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from declutch.errors import SettingsError

_FINITE = sys.float_info.max
_LARGEST_COUNT = 2**31 - 1
_LARGEST_SEED = 2**32 - 1  # of numpy's and scikit-learn's generators


@dataclass(frozen=True)
class Range:
    """From ``low`` to ``high``, both included; with ``above`` the lower one is not."""

    low: float
    high: float
    above: bool = False

    def refusal(self, value: float) -> str | None:
        """What a value must be, where it is not."""
        if math.isnan(value):
            return "a number"
        if value > self.high:
            return f"at most {self.high:g}" if self.high < _FINITE else "a finite number"
        if value < self.low or (self.above and value == self.low):
            begin = f"above {self.low:g}" if self.above else f"at least {self.low:g}"
            return begin if self.low > -_FINITE else "a finite number"
        return None


Count = Annotated[int, Range(1, _LARGEST_COUNT)]
CountOrZero = Annotated[int, Range(0, _LARGEST_COUNT)]
Folds = Annotated[int, Range(2, _LARGEST_COUNT)]
Length = Annotated[int, Range(2, _LARGEST_COUNT)]  # a token, and one to predict from it
Seed = Annotated[int, Range(0, _LARGEST_SEED)]
Share = Annotated[float, Range(0, 1, above=True)]
Fraction = Annotated[float, Range(0, 1)]
Scale = Annotated[float, Range(-_FINITE, _FINITE)]
Temperature = Annotated[float, Range(0, _FINITE)]
Positive = Annotated[float, Range(0, _FINITE, above=True)]
Seconds = Annotated[float, Range(0, _FINITE)]
Minutes = Annotated[float, Range(0, _FINITE)]
Factor = Annotated[float, Range(1, _FINITE)]
Timeout = Annotated[float, Range(0, _LARGEST_COUNT, above=True)]


def check_ranges(settings: Any) -> None:
    """See that each field of a dataclass is of its type, and each number in the declared range.

    Python and YAML have more ways to say a value than the command line, and records are JSON: what
    means the same (a number of numpy, one text for several) becomes what the type says.

    Raises:
        SettingsError: one is not; it is named as on the command line.
    """
    hints = get_type_hints(type(settings), include_extras=True)
    for field in fields(settings):
        value = checked(field.name, hints[field.name], getattr(settings, field.name))
        object.__setattr__(settings, field.name, value)  # they are frozen


def checked(name: str, hint: Any, value: Any) -> Any:
    """An argument of the library as its type says it, and in its range.

    Raises:
        SettingsError: it is of another type, or out of it.
    """
    value = fitted(name, hint, value)
    check_value(name, hint, value)
    return value


def fitted(name: str, hint: Any, value: Any) -> Any:
    """A value as its type says it: plain numbers, texts, and tuples of them.

    Raises:
        SettingsError: it is of another type.
    """
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # a number of numpy
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    kinds = {part if isinstance(part, type) else type(part) for part in _parts(hint)}
    if tuple in kinds and not isinstance(value, Mapping):
        several = list(value) if hasattr(value, "__iter__") and type(value) is not str else [value]
        return tuple(fitted(name, _inside(hint), one) for one in several)
    if type(value) in kinds or (type(value) is int and float in kinds):
        return value
    if isinstance(value, str) and str in kinds:  # a text of numpy
        return str(value)
    needed = " or ".join(_SAID[kind] for kind in _SAID if kind in kinds)
    raise SettingsError(f"--{name.replace('_', '-')} must be {needed}, not {value!r:.80}.")


_SAID = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list",
    NoneType: "None",
}


def _parts(hint: Any) -> list[Any]:
    """What a hint is made of: types, ranges, and the words of a ``Literal``."""
    origin = get_origin(hint)
    if origin is Literal:
        return list(get_args(hint))
    if origin in (Annotated, Union, UnionType):
        return [part for each in get_args(hint) for part in _parts(each)]
    return [origin or hint]


def _inside(hint: Any) -> Any:
    """What the values of a tuple are: of ``tuple[int, ...]``, annotated or not, int."""
    while get_origin(hint) is not tuple:
        hint = get_args(hint)[0]
    return get_args(hint)[0]


def check_value(name: str, hint: Any, value: object) -> None:
    """See that a value, or each number of a dataclass, is in the range that ``hint`` declares.

    Raises:
        SettingsError: it is not.
    """
    if is_dataclass(value) and not isinstance(value, type):
        check_ranges(value)
    elif isinstance(value, str):
        choices = [part for part in _parts(hint) if isinstance(part, str)]
        if choices and value not in choices and str not in _parts(hint):
            raise SettingsError(
                f"--{name.replace('_', '-')} «{value}» is unknown; give {', '.join(choices)}."
            )
    elif isinstance(value, tuple):
        for one in value:
            check_value(name, _inside(hint), one)
    elif isinstance(value, int | float):
        for allowed in _parts(hint):
            if isinstance(allowed, Range) and (needed := allowed.refusal(value)):
                raise SettingsError(f"--{name.replace('_', '-')} must be {needed}, not {value}.")
