"""Series: the items behind a metric, and how two of them are paired."""

from __future__ import annotations

import math
from typing import Any

import pytest

from declutch.comparing.comparison import ComparisonRow
from declutch.comparing.kinds import MEAN, PERPLEXITY, PROPORTION, Kind
from declutch.comparing.series import Series, compare_series
from declutch.errors import SettingsError


def series(values: dict[str, Any], kind: Kind = PROPORTION, **facts: Any) -> Series:
    return Series("awareness/privacy/j", kind, values, "privacy", "j", better="higher", **facts)


def compared(old: Series, new: Series) -> tuple[ComparisonRow, list[str]]:
    return compare_series(old.metric("awareness"), new.metric("awareness"), old, new)


def test_the_metric_is_of_the_items_that_count() -> None:
    values = {"a": True, "b": None, "c": False, **{str(n): True for n in range(6)}}
    found = series(values, note="said", label="privacy · j").metric("awareness")
    assert (found.name, found.group, found.kind) == (
        "awareness/privacy/j", "awareness", "proportion",
    )  # fmt: skip
    assert (found.count, found.total) == (7, 8)
    assert (found.dimension, found.judge, found.better) == ("privacy", "j", "higher")
    assert (found.note, found.label) == ("said", "privacy · j")


def test_items_are_paired_by_their_ids() -> None:
    old = {str(n): n < 2 for n in range(8)}
    new = dict(reversed({str(n): n < 6 for n in range(8)}.items()))
    row, notes = compared(series(old), series(new))
    assert (row.n_pairs, row.gained, row.lost, notes) == (8, 4, 0, [])
    assert row.pairs == ((True, True),) * 2 + ((False, True),) * 4 + ((False, False),) * 2


def test_what_is_left_out_is_counted_and_said() -> None:
    old: dict[str, bool | None] = {str(n): False for n in range(10)}
    new: dict[str, bool | None] = {str(n): True for n in range(2, 11)}
    old["3"] = new["4"] = old["5"] = new["5"] = None
    row, notes = compared(series(old), series(new))
    assert (row.n_pairs, row.gained) == (5, 5)
    assert notes == [
        "awareness, privacy · j: 3 items are in one evaluation only, and left out.",
        "awareness, privacy · j: of 8, 3 items are left out of the difference, for want of a value "
        "before or after.",
    ]


@pytest.mark.parametrize("new", [{"z": True}, {"a": None}])
def test_nothing_in_common_is_not_compared(new: dict[str, bool | None]) -> None:
    row, notes = compared(series({"a": True}), series(new))
    assert (row.n_pairs, row.difference, row.p, row.pairs) == (0, None, None, ())
    assert len(notes) == 1
    assert row.reading == "not compared"


def test_a_side_without_a_value_is_named() -> None:
    good, bad = {str(n): 1.0 for n in range(6)}, {str(n): math.nan for n in range(6)}
    row, notes = compared(series(good, MEAN), series(bad, MEAN))
    assert (row.difference, row.n_pairs) == (None, 0)
    assert notes == ["awareness, privacy · j has no value after: not a finite number."]


def test_two_kinds_are_not_compared() -> None:
    values = {str(n): 1.0 for n in range(6)}
    row, notes = compared(series(values, MEAN), series(dict.fromkeys(values, True)))
    assert row.difference is None
    assert "is a mean before and a proportion after" in notes[0]


def test_what_can_not_be_paired_is_named() -> None:
    old = {str(n): (20.0, 10) for n in range(6)}
    new = {str(n): (20.0, 11) for n in range(6)}
    with pytest.raises(SettingsError, match=r"^awareness/privacy/j: the same texts have other"):
        compared(series(old, PERPLEXITY), series(new, PERPLEXITY))
