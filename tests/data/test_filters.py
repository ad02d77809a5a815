from __future__ import annotations

from typing import Any

import pytest

from declutch.data.filters import MISSING, Condition, RowFilter, reach
from declutch.errors import DataError


@pytest.mark.parametrize(
    ("condition", "cell", "holds"),
    [
        ("x=true", True, True),
        ("x=true", "True", True),
        ("x=false", True, False),
        ("x=FALSE", False, True),
        ("x=1", True, False),
        ("x=1", 1.0, True),
        ("x=1", "1", True),
        ("x=a", "A", False),
        ("x=a", " a ", True),
        ("x=a|b", "b", True),
        ("x=a|b", "a|b", True),
        ("x=a|b", "c", False),
        ("x=a", ["b", "a"], True),
        ("x=a", [], False),
        ("x=", None, True),
        ("x=", "", True),
        ("x=y=z", "y=z", True),
        ("x~=Privacy", "My PRIVACY matters", True),
        ("x~=race|gender", "embraced", True),
        ("x~=race|", "nothing", False),
        ("x~=12", 3124, True),
        ("x~=a", None, False),
        ("x~=~=", "y~=z", True),
    ],
)
def test_matches(condition: str, cell: Any, holds: bool) -> None:
    assert Condition.parse(condition).matches(cell) is holds


def test_reach_prefers_the_name_as_it_stands() -> None:
    row = {"a.b": 1, "a": {"b": 2, "c.d": 3, "e": {"f": 4}}, "t": "text"}
    assert [reach(row, name) for name in ("a.b", "a.c.d", "a.e.f")] == [1, 3, 4]
    assert reach(row, "a.x") is MISSING
    assert reach(row, "t.x") is MISSING


def test_all_conditions_and_any_column() -> None:
    rows = [
        {"a": True, "b": False, "c": "x"},
        {"a": False, "b": True, "c": "y"},
        {"a": False, "b": False, "c": "x"},
        {"a": True, "b": True, "c": "z"},
    ]
    row_filter = RowFilter(["a|b=true", "c=x|y"], ["a", "b", "c"], "data")
    assert [row_filter.keep(row) for row in rows] == [True, True, False, False]
    row_filter.finish(2)


def test_negated_conditions() -> None:
    rows: list[dict[str, Any]] = [
        {"a": "Not safe", "b": "x"},
        {"a": "y", "b": "harmful"},
        {"a": "y", "b": "z"},
        {"b": "z"},
    ]
    row_filter = RowFilter(["a|b!~=safe|harm"], ["a", "b"], "data")
    assert [row_filter.keep(row) for row in rows] == [False, False, True, True]
    row_filter = RowFilter(["a!=y"], ["a", "b"], "data")
    assert [row_filter.keep(row) for row in rows] == [True, False, False, True]


@pytest.mark.parametrize("text", ["x", "=y", "~=y", "!=y", "x|=y", "x~=", "x!~= "])
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(DataError, match="can't be understood"):
        Condition.parse(text)


def test_column_that_is_not_there() -> None:
    with pytest.raises(DataError, match=r"«safe».*«prompt» and «is_safe»"):
        RowFilter(["safe=true"], ["prompt", "is_safe"], "data")


def test_inner_name_that_is_in_no_row() -> None:
    row_filter = RowFilter(["flags.privcy=true"], ["flags"], "data")
    row_filter.keep({"flags": {"privacy": True, "hate": False}})
    with pytest.raises(DataError, match="«privacy» and «hate»"):
        row_filter.finish(0)


def test_nothing_kept_names_the_condition_and_the_values() -> None:
    row_filter = RowFilter(["kind=O9", "ok=true"], ["kind", "ok"], "data")
    for kind in ("O1: a", "O9: b"):
        assert not row_filter.keep({"kind": kind, "ok": True})
    with pytest.raises(DataError) as caught:
        row_filter.finish(0)
    assert "none of the 2 rows" in str(caught.value)
    assert "«kind=O9» holds for 0; «ok=true» holds for 2" in str(caught.value)
    assert "«O1: a» and «O9: b»" in str(caught.value)
