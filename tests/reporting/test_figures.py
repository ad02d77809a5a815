from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import pytest
from PIL import Image

from declutch.comparing.comparison import ComparisonRow
from declutch.reporting import plots
from declutch.reporting.picture import draw_all
from declutch.reporting.pictures.coupled import coupled_heatmap
from declutch.reporting.pictures.margins import margin_panels
from declutch.reporting.pictures.trade_off import trade_off
from tests.reporting.fakes import (
    awareness,
    layers,
    number,
    one_sided,
    patch_summary,
    report_input,
    share,
)


def texts(figure: object) -> list[str]:
    """All that is written in a figure."""
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]  # type: ignore[attr-defined]


def margin(*pairs: tuple[float, float]) -> ComparisonRow:
    """The margins of these pairs before and after."""
    return replace(number("margin/fairness", 0.2, 0.01, 0.02, dimension="fairness"), pairs=pairs)


def test_all_figures_are_png_of_the_stated_size(tmp_path: Path) -> None:
    report = report_input(tmp_path)
    drawings = draw_all(report_input(tmp_path, rows=(*report.rows, *layers(3))))
    assert [drawing.name for drawing in drawings] == [
        "trade-off-fairness-privacy", "over-refusal", "awareness", "coupled-neurons", "margins",
        "replies", "dependence-by-layer",
    ]  # fmt: skip
    assert [drawing.first for drawing in drawings] == [True] * 2 + [False] * 5
    for drawing in drawings:
        with Image.open(io.BytesIO(drawing.png)) as image:
            assert image.format == "PNG"
            assert abs(image.width - 2 * drawing.width) <= 2
            assert len(image.convert("RGB").getcolors(1 << 20) or [1, 2]) > 1
        assert drawing.alt
        assert drawing.caption


def test_settings_of_the_caller_stay(tmp_path: Path) -> None:
    before = mpl.rcParams["font.size"], mpl.rcParams["axes.spines.top"]
    plots.before_after([awareness("fairness")])
    assert (mpl.rcParams["font.size"], mpl.rcParams["axes.spines.top"]) == before


def test_heatmap_writes_counts_and_tells_zero_and_missing_apart() -> None:
    summary = patch_summary()
    counts = {key: count for key, count in summary.counts.items() if key != (1, "up_proj")}
    figure = coupled_heatmap(replace(summary, counts=counts))
    top, main = figure.axes
    written = [text.get_text() for text in main.texts]
    assert sorted(written) == ["1", "1", "3"]
    assert [label.get_text() for label in main.get_yticklabels()][2] == "down_proj  (4)"
    # The missing matrix is the only hatched cell.
    assert sum(bool(each.get_hatch()) for each in main.collections) == 1
    grid = main.images[0].get_array()
    assert grid is not None
    assert int(grid.mask.sum() if hasattr(grid, "mask") else 0) == 3
    assert [text.get_text() for text in top.texts] == ["4", "1"]


@pytest.mark.parametrize("layers_count", [1, 96])
def test_heatmap_of_few_and_many_layers(layers_count: int) -> None:
    counts = {(layer, "up_proj"): layer * 1000 for layer in range(layers_count)}
    figure = coupled_heatmap(patch_summary(counts=counts, weights=sum(counts.values())))
    assert 6 <= figure.get_size_inches()[0] <= 13
    assert len(figure.axes[1].get_xticks()) <= 33


def test_dots_have_a_panel_for_each_unit_and_show_counts() -> None:
    rows = [share("capability/boolq", start=30, gained=5), number("capability/nll", 2.0, 0.1, 0.2)]
    figure = plots.before_after(rows)
    assert len(figure.axes) == 2
    assert "30/100 → 35/100" in texts(figure)


def test_dots_of_a_metric_on_one_side_only() -> None:
    assert "nothing to count → 30/100" in texts(plots.before_after([one_sided("awareness/x/j")]))


def test_trade_off_has_an_arrow_for_each_judge_that_judged_both() -> None:
    rows = [
        awareness("a", "one", gained=3), awareness("b", "one", lost=3), awareness("a", "two"),
    ]  # fmt: skip
    figure = trade_off(rows, "a", "b")
    assert figure is not None
    assert "a awareness, %  (n = 100)" in texts(figure)
    low, high = figure.axes[0].get_xlim()
    bottom, top = figure.axes[0].get_ylim()
    assert high - low == pytest.approx(top - bottom)
    assert trade_off(rows, "a", "c") is None


def test_trade_off_at_the_ends_of_the_scale() -> None:
    rows = [awareness("a", start=0), awareness("b", start=100)]
    figure = trade_off(rows, "a", "b")
    assert figure is not None
    assert figure.axes[0].get_xlim()[0] < 0
    assert figure.axes[0].get_ylim()[1] > 100


def test_margins_count_the_pairs_that_rose() -> None:
    figure = margin_panels([margin((0.1, 0.2), (0.5, 0.4), (0.3, 0.4), (math.nan, 0.1))])
    assert len(figure.axes) == 2
    assert "rose in 2/3 pairs" in texts(figure)
    assert any("mean change +0.01" in text for text in texts(figure))


def test_margins_that_did_not_move_at_all() -> None:
    assert "rose in 0/1 pairs" in texts(margin_panels([margin((0.0, 0.0))]))


def test_layers_start_at_zero_and_need_a_series() -> None:
    figure = plots.by_layer(layers(5))
    assert figure is not None
    assert figure.axes[0].get_ylim()[0] == 0
    assert figure.axes[0].get_title(loc="left") == "cka · last token"
    assert plots.by_layer([awareness("fairness")]) is None


def test_names_of_a_user_are_no_markup_and_no_path(tmp_path: Path) -> None:
    rows = (awareness("$x^2$"), awareness("a/../b"))
    report = report_input(tmp_path, rows=rows, patch=patch_summary(coupled=("$x^2$", "a/../b")))
    for drawing in draw_all(report):
        assert "/" not in drawing.name
        assert not drawing.name.startswith(".")
