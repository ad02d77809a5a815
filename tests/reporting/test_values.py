from __future__ import annotations

from declutch.measures.base import Evidence, all_measures
from declutch.measures.margin import Margin, MarginItem
from declutch.reporting.values import PatchSummary, grouped, layer_series
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


def test_labels() -> None:
    assert awareness("fairness").metric.label == "fairness · heuristic"
    assert over_refusal().metric.label == "fairness · refusal"
    assert share("refused/harmless_x", start=1).metric.label == "refused · harmless x"
    means, positive = Margin().series(
        Evidence(items={"margin": [MarginItem(set="privacy", id="0", good=0, bad=0, margin=0)]})
    )
    assert means.metric("margin").label == "privacy · mean"
    assert positive.metric("margin").label == "privacy · above 0"


def test_groups_keep_order_and_put_like_beside_like() -> None:
    rows = [
        awareness("a", "j1"), awareness("b", "j1"), over_refusal(), awareness("a", "j2"),
        number("novelty/x", 1, 0, 1),
    ]  # fmt: skip
    groups = grouped(rows)
    assert list(groups) == ["awareness", "over_refusal", "novelty"]
    assert [row.name for row in groups["awareness"]] == [
        "awareness/a/j1", "awareness/a/j2", "awareness/b/j1",
    ]  # fmt: skip
    assert groups["novelty"][0].measure.title == "Novelty"


def test_measures_stand_in_their_order() -> None:
    ours = [
        "awareness", "over_refusal", "reply_kinds", "agreement", "margin", "perplexity",
        "capability", "dependence", "wording",
    ]  # fmt: skip
    # Other tests may have made measures of their own known.
    assert [name for one in all_measures() if (name := one.facts.name) in ours] == ours


def test_layer_series_are_sorted_by_number_and_need_three() -> None:
    rows = layers(12)
    series = layer_series(list(reversed(rows)))
    assert list(series) == ["dependence/cka/last_token"]
    assert [layer for layer, _ in series["dependence/cka/last_token"]] == list(range(12))
    assert layer_series(rows[:2]) == {}
    assert layer_series([awareness("fairness")] * 3) == {}
