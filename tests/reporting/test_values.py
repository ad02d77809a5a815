from __future__ import annotations

from types import SimpleNamespace

from declutch.reporting.values import Metric, PatchSummary, Row, grouped, layer_series
from tests.reporting.fakes import awareness, layers, number, over_refusal, patch, share


def test_patch_summary_counts_and_puts_experts_together() -> None:
    summary = PatchSummary.of(
        patch({
            "model.layers.0.mlp.up_proj": 2,
            "model.layers.1.mlp.experts.down_proj[0]": 1,
            "model.layers.1.mlp.experts.down_proj[1]": 3,
            "model.layers.1.mlp.up_proj": 0,
        })
    )  # fmt: skip
    assert summary.counts == {(0, "up_proj"): 2, (1, "down_proj"): 4, (1, "up_proj"): 0}
    assert (summary.weights, summary.matrices, summary.targeted) == (6, 4, 4 * 32)
    assert summary.total(layer=1) == 4
    assert summary.total(kind="up_proj") == 2


def test_row_of_objects_and_of_mappings() -> None:
    metric = {"name": "awareness/a/j", "group": "awareness", "kind": "proportion", "value": 0.5,
              "total": 4, "count": 2, "better": "higher"}  # fmt: skip
    source = SimpleNamespace(name="awareness/a/j", before=metric, after=None, difference=None)
    row = Row.of(source)
    assert row.metric == Metric.of(SimpleNamespace(**metric))
    assert row.after is None
    assert Row.of({"metric": "x", "before": metric, "after": metric}).name == "x"


def test_labels() -> None:
    assert awareness("fairness").metric.label == "fairness · heuristic"
    assert over_refusal().metric.label == "fairness · heuristic"
    assert share("refused/harmless_x", start=1).metric.label == "refused · harmless x"
    assert number("margin/privacy", 0.1, 0, 1).metric.label == "privacy · mean"


def test_groups_keep_order_and_put_like_beside_like() -> None:
    rows = [
        number("novelty/x", 1, 0, 1), over_refusal(),
        awareness("a", "j1"), awareness("b", "j1"), awareness("a", "j2"),
    ]  # fmt: skip
    groups = grouped(rows)
    assert list(groups) == ["awareness", "over_refusal", "novelty"]
    assert [row.name for row in groups["awareness"]] == [
        "awareness/a/j1", "awareness/a/j2", "awareness/b/j1",
    ]  # fmt: skip
    assert groups["novelty"][0].metric.group_title == "Novelty"


def test_layer_series_are_sorted_by_number_and_need_three() -> None:
    rows = layers(12)
    series = layer_series(list(reversed(rows)))
    assert list(series) == ["dependence/cka/last_token"]
    assert [layer for layer, _ in series["dependence/cka/last_token"]] == list(range(12))
    assert layer_series(rows[:2]) == {}
    assert layer_series([awareness("fairness")] * 3) == {}
