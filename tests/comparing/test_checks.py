"""Guards: how they are written, which metrics they mean, and when they hold."""

from __future__ import annotations

from typing import Any

import pytest

from declutch.comparing.checks import (
    check_guards,
    guarded_metrics,
    parse_guard,
    parse_guards,
)
from declutch.comparing.comparison import Comparison, ComparisonRow
from declutch.comparing.results import MeasureFacts, Metric, ModelRecord, Results
from declutch.errors import SettingsError
from declutch.settings import Mode

AWARENESS = MeasureFacts(name="awareness", role="outcome")


def metric(name: str, value: float | None = 0.5, **changes: Any) -> Metric:
    group, *rest = name.split("/")
    known: dict[str, Any] = {
        "group": {"refused": "reply_kinds", "empty": "reply_kinds"}.get(group, group),
        "dimension": rest[0].partition("@")[0] if rest else None,
        "kind": {"perplexity": "perplexity", "margin": "mean"}.get(group, "proportion"),
        "count": (
            None if value is None or group in ("perplexity", "margin") else round(100 * value)
        ),
        "total": 0 if value is None else 100,
        "low": None if value is None else value - 0.1,
        "high": None if value is None else value + 0.1,
        "judge": rest[1] if len(rest) > 1 else None,
    }
    return Metric(name=name, value=value, **{**known, **changes})


def results(*metrics: Metric) -> Results:
    return Results(
        model=ModelRecord(id="m", fingerprint="f", dtype="float32"),
        measures={"awareness": AWARENESS},
        metrics=tuple(metrics),
    )


def compared(
    name: str,
    difference: float | None,
    low: float | None,
    high: float | None,
    before: float | None = 0.5,
) -> tuple[Results, Comparison]:
    old, new = metric(name, before), metric(name, 0.5)
    row = ComparisonRow(name=name, before=old, after=new, difference=difference, low=low, high=high)
    return results(new), Comparison(results(old), results(new), (row,))


def named(text: str, metrics: list[Metric]) -> list[Metric]:
    return guarded_metrics(parse_guard(text), metrics, {"awareness"})


ALL = [
    metric("awareness/fairness/heuristic"),
    metric("awareness/fairness/guard"),
    metric("awareness/privacy/heuristic"),
    metric("over_refusal/fairness/refusal"),
    metric("over_caution/fairness/refusal"),
    metric("refused/fairness"),
    metric("empty/fairness"),
    metric("margin/fairness", kind="mean", count=None),
    metric("margin_positive/fairness", group="margin"),
    metric("perplexity/general"),
    metric("capability/hellaswag", dimension=None),
]


@pytest.mark.parametrize(
    ("text", "name", "sign", "kind", "by"),
    [
        ("perplexity<=1.02x", "perplexity", "<=", "times", 1.02),
        ("fairness>=baseline", "fairness", ">=", "baseline", 0.0),
        ("over_refusal<=baseline+0.05", "over_refusal", "<=", "baseline", 0.05),
        ("awareness/privacy>baseline-.02", "awareness/privacy", ">", "baseline", -0.02),
        (" empty < 1e-2 ", "empty", "<", "number", 0.01),
        ("margin/fairness >= -0.5", "margin/fairness", ">=", "number", -0.5),
        ("fairness@salad>=baseline - 0.1", "fairness@salad", ">=", "baseline", -0.1),
        ("perplexity<=2 x", "perplexity", "<=", "times", 2.0),
    ],
)
def test_parse(text: str, name: str, sign: str, kind: str, by: float) -> None:
    guard = parse_guard(text)
    assert (guard.name, guard.sign, guard.kind) == (name, sign, kind)
    assert guard.by == pytest.approx(by)
    assert guard.needs_baseline == (kind != "number")
    assert guard.text == text


@pytest.mark.parametrize(
    "text",
    [
        "", "fairness", "fairness>=", ">=0.5", "fairness=0.5", "fairness==0.5", "fairness=>0.5",
        "fairness>=base", "fairness>=baseline*2", "fairness>=baseline+", "fairness>=1.02x+1",
        "fairness>=0x", "fairness>=-1x", "fairness>=60%", "a b>=1", "fairness>=nan",
        "fairness>=1>=0", "fairness<>0.5",
    ],
)  # fmt: skip
def test_malformed(text: str) -> None:
    with pytest.raises(SettingsError, match="--guard"):
        parse_guard(text)


def test_percent_is_explained() -> None:
    with pytest.raises(SettingsError, match="not as percent"):
        parse_guard("fairness>=60%")


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("awareness/fairness/guard", ["awareness/fairness/guard"]),
        ("awareness/fairness", ["awareness/fairness/heuristic", "awareness/fairness/guard"]),
        (
            "awareness",
            [
                "awareness/fairness/heuristic",
                "awareness/fairness/guard",
                "awareness/privacy/heuristic",
            ],
        ),
        ("fairness", ["awareness/fairness/heuristic", "awareness/fairness/guard"]),
        ("privacy", ["awareness/privacy/heuristic"]),
        ("over_refusal", ["over_refusal/fairness/refusal"]),
        ("over_caution", ["over_caution/fairness/refusal"]),
        ("margin", ["margin/fairness"]),
        ("perplexity", ["perplexity/general"]),
        ("hellaswag", ["capability/hellaswag"]),
        ("guard", ["awareness/fairness/guard"]),
    ],
)
def test_names(name: str, names: list[str]) -> None:
    assert [m.name for m in named(f"{name}>0", ALL)] == names


def test_a_suites_label_belongs_to_its_dimension() -> None:
    both = [metric("awareness/fairness@salad/j"), metric("awareness/fairness@bundled/j")]
    assert named("awareness/fairness>0", both) == both
    assert named("fairness>0", both) == both
    assert named("awareness/fairness@salad>0", both) == both[:1]


def test_ambiguous_and_unknown_names_list_what_there_is() -> None:
    with pytest.raises(SettingsError, match="refused/fairness, empty/fairness"):
        named("reply_kinds<1", ALL)
    more = [*ALL, metric("over_refusal/fairness/heuristic")]
    with pytest.raises(SettingsError, match="over_refusal/fairness/heuristic"):
        named("heuristic<1", more)
    with pytest.raises(SettingsError, match=r"awareness, over_refusal.*perplexity, capability"):
        named("helaswag>0", ALL)
    with pytest.raises(SettingsError, match="There are: none"):
        named("fairness>0", [])


# Interval of the difference, then whether «>= baseline-0.05» holds: leniently, strictly.
@pytest.mark.parametrize(
    ("low", "high", "lenient", "strict"),
    [
        (0.01, 0.20, True, True),
        (-0.04, 0.10, True, True),
        (-0.05, 0.10, True, True),  # the border belongs to >=
        (-0.06, 0.10, True, False),
        (-0.20, -0.05, True, False),
        (-0.20, -0.06, False, False),
    ],
)
def test_at_least_the_baseline(low: float, high: float, lenient: bool, strict: bool) -> None:
    found, comparison = compared("awareness/fairness/j", (low + high) / 2, low, high)
    for mode, held in (("lenient", lenient), ("strict", strict)):
        (record,) = check_guards(
            parse_guards(["fairness>=baseline-0.05"]),
            found,
            comparison,
            mode,  # type: ignore[arg-type]
        )
        assert (record.held, record.shown) == (held, strict)
        assert (record.low, record.high, record.limit) == (low, high, -0.05)


@pytest.mark.parametrize(
    ("sign", "low", "high", "lenient", "strict"),
    [
        ("<=", -0.2, 0.0, True, True),
        ("<", -0.2, 0.0, True, False),
        ("<=", 0.0, 0.2, True, False),
        ("<", 0.0, 0.2, False, False),
        (">=", 0.0, 0.2, True, True),
        (">", 0.0, 0.2, True, False),
        (">=", -0.2, 0.0, True, False),
        (">", -0.2, 0.0, False, False),
        ("<", 0.0, 0.0, False, False),
        ("<=", 0.0, 0.0, True, True),
    ],
)
def test_the_border(sign: str, low: float, high: float, lenient: bool, strict: bool) -> None:
    found, comparison = compared("over_refusal/fairness/h", (low + high) / 2, low, high)
    guards = parse_guards([f"over_refusal{sign}baseline"])
    held = [check_guards(guards, found, comparison, m)[0].held for m in ("lenient", "strict")]
    assert held == [lenient, strict]


@pytest.mark.parametrize(("high", "strict"), [(0.04, True), (0.09, False)])
def test_no_more_caution_than_allowed(high: float, strict: bool) -> None:
    found, comparison = compared("over_caution/fairness/refusal", 0.02, 0.0, high)
    guards = parse_guards(["over_caution<=baseline+0.05"])
    held = [check_guards(guards, found, comparison, m)[0].held for m in ("lenient", "strict")]
    assert held == [True, strict]


def test_times_the_baseline_is_a_difference_of_its_value() -> None:
    # 2 % of 20 are 0.4.
    for low, high, lenient, strict in (
        (0.1, 0.3, True, True), (0.1, 0.5, True, False), (0.5, 0.9, False, False)
    ):  # fmt: skip
        found, comparison = compared("perplexity/general", (low + high) / 2, low, high, before=20.0)
        for mode, held in (("lenient", lenient), ("strict", strict)):
            (record,) = check_guards(parse_guards(["perplexity<=1.02x"]), found, comparison, mode)  # type: ignore[arg-type]
            assert record.limit == pytest.approx(0.4)
            assert record.held is held


def test_a_multiple_of_a_negative_baseline_is_no_limit() -> None:
    found, comparison = compared("margin/fairness", 0.1, 0.0, 0.2, before=-0.5)
    (record,) = check_guards(parse_guards(["margin<=1.1x"]), found, comparison)
    assert not record.held
    assert "negative" in record.reason


@pytest.mark.parametrize(
    ("text", "lenient", "strict"),
    [
        ("fairness>=0.3", True, True),
        ("fairness>=0.45", True, False),
        ("fairness>=0.55", True, False),  # the value misses it, the interval does not
        ("fairness>=0.65", False, False),
        ("fairness<=0.65", True, True),
        ("fairness<=0.35", False, False),
    ],
)
def test_a_fixed_limit_takes_the_metrics_own_interval(
    text: str, lenient: bool, strict: bool
) -> None:
    found = results(metric("awareness/fairness/j", 0.5))
    for mode, held in (("lenient", lenient), ("strict", strict)):
        (record,) = check_guards(parse_guards([text]), found, None, mode)  # type: ignore[arg-type]
        assert record.held is held
        assert "50/100, 95 % interval 0.400 to 0.600" in record.reason


@pytest.mark.parametrize("mode", ["lenient", "strict"])
def test_nothing_to_count_fails(mode: Mode) -> None:
    found = results(metric("awareness/fairness/j", None))
    (record,) = check_guards(parse_guards(["fairness>=0"]), found, None, mode)
    assert not record.held
    assert "nothing to count" in record.reason
    # Neither does a difference of which one side is missing, or that the baseline never measured.
    found, comparison = compared("awareness/fairness/j", None, None, None, before=None)
    (record,) = check_guards(parse_guards(["fairness>=baseline"]), found, comparison, mode)
    assert not record.held
    found, comparison = compared("awareness/fairness/j", 0.1, 0.0, 0.2)
    more = results(*found.metrics, metric("awareness/fairness/other"))
    records = check_guards(parse_guards(["fairness>=baseline"]), more, comparison, mode)
    assert [record.held for record in records] == [True, False]


def test_without_an_interval_the_value_decides_and_nothing_is_shown() -> None:
    for difference, lenient in ((0.1, True), (-0.1, False)):
        found, comparison = compared("awareness/fairness/j", difference, None, None)
        guards = parse_guards(["fairness>=baseline"])
        (record,) = check_guards(guards, found, comparison, "lenient")
        assert record.held is lenient
        assert "no interval" in record.reason
        assert not check_guards(guards, found, comparison, "strict")[0].held


def test_what_can_not_be_meant_is_refused() -> None:
    found, comparison = compared("awareness/fairness/j", 0.1, 0.0, 0.2)
    with pytest.raises(SettingsError, match="share from 0 to 1"):
        check_guards(parse_guards(["fairness>=60"]), found)
    with pytest.raises(SettingsError, match="share from 0 to 1"):
        check_guards(parse_guards(["fairness>=baseline-5"]), found, comparison)
    with pytest.raises(SettingsError, match="--baseline"):
        check_guards(parse_guards(["fairness>=baseline"]), found)
    with pytest.raises(SettingsError, match="lenient or strict"):
        check_guards((), found, None, "harsh")  # type: ignore[arg-type]


def test_every_metric_of_a_guard_gets_its_record() -> None:
    low, high = metric("awareness/fairness/a", 0.2), metric("awareness/fairness/b", 0.8)
    records = check_guards(parse_guards(["fairness>=0.5"]), results(low, high))
    assert [(r.metric, r.held) for r in records] == [
        ("awareness/fairness/a", False),
        ("awareness/fairness/b", True),
    ]


@pytest.mark.parametrize("mode", ["lenient", "strict"])
@pytest.mark.parametrize("n", [1, 5])
def test_too_few_items_fail_in_both_modes(mode: Mode, n: int) -> None:
    few = metric("awareness/fairness/j", 1.0, count=n, total=n)
    (record,) = check_guards(parse_guards(["fairness>=0.2"]), results(few), None, mode)
    assert (record.held, record.shown) == (False, False)
    assert f"too few to tell ({n} of at least 6)" in record.reason
    row = ComparisonRow(name=few.name, before=few, after=few, n_pairs=n, difference=0.0)
    comparison = Comparison(results(few), results(few), (row,))
    (record,) = check_guards(parse_guards(["fairness>=baseline"]), results(few), comparison, mode)
    assert (record.held, record.shown) == (False, False)
    assert f"too few to tell ({n} of at least 6)" in record.reason


def test_a_value_that_is_no_number_fails_and_is_explained() -> None:
    broken = metric(
        "perplexity/general", float("nan"), note="over 9 texts; not a finite number for 1 of 9: p3"
    )
    (record,) = check_guards(parse_guards(["perplexity<=30"]), results(broken))
    assert not record.held
    assert "not a finite number for 1 of 9: p3" in record.reason


def test_nothing_in_common_with_the_baseline_fails_and_is_explained() -> None:
    found, comparison = compared("awareness/fairness/j", None, None, None)
    (record,) = check_guards(parse_guards(["fairness>=baseline"]), found, comparison)
    assert not record.held
    assert record.reason == "can't be checked: no item was counted on both sides"
