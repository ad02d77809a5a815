"""Which matrices a target covers: a name for a kind of them, or a regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable

import regex

from declutch.errors import SettingsError

GROUPS: dict[str, frozenset[str]] = {
    "mlp": frozenset({"mlp"}),
    "attention": frozenset({"attention"}),
    "all": frozenset({"mlp", "attention", "router", "other"}),
}

_LONGEST_TARGET = 2000  # characters
_MATCH_SECONDS = 2  # for one name, many thousand times what one takes


def target_filter(target: str) -> Callable[[str, str], bool]:
    """A test of a matrix's name and kind against ``mlp``, ``attention``, ``all`` or an expression.

    Raises:
        SettingsError: the expression is not valid.
    """
    if target in GROUPS:
        kinds = GROUPS[target]
        return lambda name, kind: kind in kinds
    try:
        pattern = regex.compile(target[: _LONGEST_TARGET + 1])
        if len(target) > _LONGEST_TARGET:
            raise ValueError(f"it is longer than {_LONGEST_TARGET:,} characters")
    except (regex.error, ValueError, RecursionError, OverflowError) as error:
        raise SettingsError(
            f"--target-modules «{target[:200]}» is neither mlp, attention nor all, and is not a "
            f"valid regular expression: {error}."
        ) from error

    def matches(name: str, kind: str) -> bool:
        plain = re.sub(r"\[\d+\]$", "", name)
        try:
            return any(
                pattern.fullmatch(one, timeout=_MATCH_SECONDS)
                for one in (name, plain, plain.rpartition(".")[2])
            )
        except TimeoutError as error:
            raise SettingsError(
                f"--target-modules «{target}» takes more than {_MATCH_SECONDS} s on the name "
                f"«{name}»: repetitions inside repetitions try every way to share it out. Write it "
                "with one repetition at each place."
            ) from error

    return matches
