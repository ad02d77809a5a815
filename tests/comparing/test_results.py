"""Metrics and the results file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from declutch.comparing import results
from declutch.comparing.kinds import MEAN, PERPLEXITY, PROPORTION, Kind
from declutch.comparing.series import Series
from declutch.errors import FileFormatError, SettingsError


def made(name: str, kind: Kind, values: Sequence[Any], **facts: Any) -> results.Metric:
    """A metric of these values."""
    items = {str(n): value for n, value in enumerate(values)}
    return Series(name, kind, items, **facts).metric(name.partition("/")[0])


def shares(count: int, total: int) -> list[bool]:
    return [n < count for n in range(total)]


def some_results() -> results.Results:
    return results.Results(
        model=results.ModelRecord(id="tiny", fingerprint="abc", dtype="float32"),
        metrics=(
            made(
                "awareness/privacy/heuristic",
                PROPORTION,
                shares(3, 10),
                dimension="privacy",
                judge="heuristic",
                better="higher",
            ),
            made("margin/privacy", MEAN, [0.5, -0.25, 1.0] * 2),
            made("perplexity/general", PERPLEXITY, [(20.0, 10), (10.0, 5)] * 3),
        ),
    )


def test_round_trip(tmp_path: Path) -> None:
    before = some_results()
    path = before.save(tmp_path)
    assert path == tmp_path / "results.json"
    assert results.Results.load(tmp_path) == before
    assert list(tmp_path.iterdir()) == [path]


def test_proportion_has_count_and_interval() -> None:
    metric = some_results().metric("awareness/privacy/heuristic")
    assert (metric.value, metric.count, metric.total) == (0.3, 3, 10)
    assert (metric.low, metric.high) == pytest.approx((0.1078, 0.6032), abs=1e-4)


def test_mean_and_perplexity() -> None:
    mean = some_results().metric("margin/privacy")
    assert mean.value == pytest.approx(1.25 / 3)
    assert mean.low is not None
    assert mean.high is not None
    assert mean.low < 1.25 / 3 < mean.high
    perplexity = some_results().metric("perplexity/general")
    assert perplexity.value == pytest.approx(math.exp(2.0))
    assert (perplexity.low, perplexity.high) == pytest.approx((math.exp(2), math.exp(2)))


def test_nothing_measured_is_none_not_zero() -> None:
    for metric in (
        made("awareness/x/y", PROPORTION, []),
        made("margin/x", MEAN, []),
        made("perplexity/x", PERPLEXITY, []),
    ):
        assert (metric.value, metric.low, metric.high, metric.total) == (None, None, None, 0)


def test_unknown_metric_names_those_there_are() -> None:
    with pytest.raises(SettingsError, match="margin/privacy"):
        some_results().metric("margin/fairness")


def test_unknown_version_is_refused(tmp_path: Path) -> None:
    path = some_results().save(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 2}))
    with pytest.raises(FileFormatError, match="format_version 2"):
        results.Results.load(tmp_path)


def test_damage_is_named(tmp_path: Path) -> None:
    path = some_results().save(tmp_path)
    value = json.loads(path.read_text())
    value["metrics"][1]["total"] = "three"
    path.write_text(json.dumps(value))
    with pytest.raises(FileFormatError, match=r"metrics\.1\.total"):
        results.Results.load(tmp_path)
    value["metrics"][1]["total"] = 6
    value["metrics"][1]["value"] = 0.9
    path.write_text(json.dumps(value))
    with pytest.raises(FileFormatError, match=r"changed since it was written.*differs"):
        results.Results.load(tmp_path)
    del value["checksum"]
    path.write_text(json.dumps(value))
    with pytest.raises(FileFormatError, match="is missing"):
        results.Results.load(tmp_path)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(FileFormatError, match="not valid JSON"):
        results.Results.load(tmp_path)
    path.unlink()
    with pytest.raises(FileFormatError, match="does not exist"):
        results.Results.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 11}, "11 of 10"),
        ({"count": -1}, "-1 of 10"),
        ({"total": -10}, "of -10"),
        ({"low": 0.7}, "from 0.7 to"),
        ({"low": None}, "one end"),
        ({"value": 0.5}, "not 3/10"),
    ],
)
def test_the_impossible_is_refused(changes: dict[str, float], message: str) -> None:
    share = some_results().metrics[0].model_dump()
    with pytest.raises(ValidationError, match=message):
        results.Metric(**{**share, **changes})


def test_a_metric_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = some_results().save(tmp_path)
    value = json.loads(path.read_text())
    value["metrics"].append(value["metrics"][0])
    path.write_text(json.dumps(value))
    with pytest.raises(FileFormatError, match="there twice: awareness/privacy/heuristic"):
        results.Results.load(tmp_path)


@pytest.mark.parametrize("total", [1, 2, 5])
def test_too_few_items_have_no_interval(total: int) -> None:
    for metric in (
        made("awareness/x/y", PROPORTION, shares(total, total)),
        made("margin/x", MEAN, [1.0] * total),
        made("perplexity/x", PERPLEXITY, [(1.0, 2)] * total),
        results.Metric(
            name="a/b", group="agreement", kind="mean", value=1.0, total=total, low=0.9, high=1.0
        ),
    ):
        assert metric.too_few
        assert metric.value is not None
        assert (metric.low, metric.high) == (None, None)
    assert not made("awareness/x/y", PROPORTION, shares(6, 6)).too_few


def test_a_perplexity_without_tokens_has_no_value() -> None:
    assert made("perplexity/x", PERPLEXITY, [(0.0, 0)]).value is None
