from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from declutch.comparing.results import Metric
from declutch.reporting import formats
from declutch.reporting.texts import commands, date_in_words, flatten
from tests.reporting.fakes import awareness, number, perplexity, share


def changed(metric: Metric, **fields: Any) -> Metric:
    """The metric with other fields, possible or not."""
    return metric.model_copy(update=fields)


def test_share_has_count_and_interval() -> None:
    row = awareness("fairness", gained=4)
    assert formats.value(row.before) == "30/100 = 30.0 %"
    assert formats.short_value(row.after) == "34/100"
    assert formats.interval(row.before) == "21.9 to 39.6"
    assert formats.difference(row) == "+4.0 points"


def test_what_is_not_there() -> None:
    metric = awareness("fairness").before
    assert formats.value(changed(metric, value=None, total=0)) == "nothing to count"
    assert formats.interval(changed(metric, low=None)) == ""
    assert formats.difference(replace(awareness("f"), difference=None)) == "not compared"


def test_small_differences_keep_their_digits() -> None:
    row = number("margin/fairness", 0.2, 0.00123, 0.0004)
    assert formats.difference(row) == "+0.0012"
    assert formats.difference_interval(row) == "+0.0008 to +0.0016"


def test_minus_is_a_minus_and_zero_has_no_sign() -> None:
    assert formats.signed(-1.25, 1) == "−1.2"
    assert formats.signed(-0.01, 1) == "0.0"
    assert formats.signed(0.0, 2) == "0.00"
    assert formats.difference(perplexity(-0.4, 0.1)) == "−0.40"


@pytest.mark.parametrize(
    ("p", "text"),
    [(None, ""), (0.0001, "< 0.001"), (0.0499, "0.050"), (0.04, "0.040"), (1, "1.00")],
)  # fmt: skip
def test_p(p: float | None, text: str) -> None:
    assert formats.p_value(p) == text


def test_joined() -> None:
    assert formats.joined([]) == ""
    assert formats.joined(["a"]) == "a"
    assert formats.joined(["a", "b", "c"], "or") == "a, b or c"


def test_ratio() -> None:
    assert formats.ratio(5e-7) == "5e-7"
    assert formats.ratio(0.5) == "0.5"


def test_flatten() -> None:
    nested = {"a": {"b": 1, "c": [1, 2]}, "d": None, "e": {}, "f": [{"x": 1, "y": True}, {"x": 2}]}
    assert dict(flatten(nested)) == {
        "a.b": "1", "a.c": "1, 2", "d": "none", "e": "none", "f": "x 1, y yes; x 2",
    }  # fmt: skip


def test_commands_are_quoted() -> None:
    assert "'my model' 'o;ut/patch'" in commands("my model", "o;ut/patch")["Apply it to the model"]


def test_date() -> None:
    assert date_in_words("2026-01-02T03:04:05+00:00") == "2 January 2026, 03:04 UTC"
    assert date_in_words("yesterday") == "yesterday"


def test_too_few_to_tell_stands_where_the_interval_would() -> None:
    before = share("awareness/a/j", start=1, total=3).metric
    few = changed(before, low=None, high=None, too_few=True)
    assert formats.interval(few) == "too few to tell"
    broken = changed(few, value=None, note="over 3; not a finite number for 1 of 3: p1")
    assert formats.value(broken) == "not finite"
