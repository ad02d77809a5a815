from __future__ import annotations

import io
import re

import pytest
from rich.console import Console, RenderableType

from declutch.comparing.comparison import ComparisonRow
from declutch.reporting import console, formats
from declutch.reporting.conclusion import conclusion
from tests.reporting.fakes import (
    awareness,
    layers,
    number,
    over_refusal,
    patch_summary,
    perplexity,
    results,
    share,
)


def printed(what: RenderableType, width: int = 80) -> str:
    out = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    out.print(what)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert max(len(line) for line in text.splitlines()) <= width
    return str(text)


def test_comparison_is_whole_at_80_columns() -> None:
    rows = [
        share("awareness/a/judge-of-a-very-long-name", start=1000, gained=99, total=2165),
        over_refusal(), perplexity(), number("margin/fairness", -0.123, 0.001, 0.002),
    ]  # fmt: skip
    text = printed(console.comparison_table(rows))
    assert "…" not in text
    assert "1,000/2,165 46.2 %" in text
    assert "1,099/2,165 50.8 %" in text
    assert "+4.6 pt" in text
    assert "<0.001" in text


def test_no_percentage_without_its_count() -> None:
    text = printed(console.comparison_table([awareness("fairness", gained=4), over_refusal()]))
    for line in text.splitlines():
        assert len(re.findall(r"%", line)) == len(re.findall(r"\d+/\d+ +\d+\.\d %", line))
    assert "21.9 to 39.6" in text


def test_single_layers_are_folded_away() -> None:
    rows = [awareness("fairness"), *layers(30)]
    assert "30 more" in printed(console.comparison_table(rows))


def test_results_of_one_evaluation() -> None:
    text = printed(console.results_table(results([awareness("fairness")])))
    assert "Awareness" in text
    assert "30/100 30.0 %" in text
    assert "21.9 to 39.6" in text


def test_locate_leaves_empty_layers_out_and_adds_up() -> None:
    counts = {(layer, "up_proj"): int(layer == 3) * 7 for layer in range(5)}
    text = printed(console.locate_table(patch_summary(counts=counts, weights=7)))
    rows = [line.split() for line in text.splitlines()]
    assert ["3", "7", "7"] in rows
    assert ["all", "7", "7"] in rows
    assert not any(row[:1] == ["2"] for row in rows)


def test_locate_puts_many_layers_together() -> None:
    counts = {(layer, kind): 1 for layer in range(80) for kind in ("q_proj", "v_proj")}
    text = printed(console.locate_table(patch_summary(counts=counts, weights=160)))
    assert len(text.splitlines()) < 28
    assert ["0–4", "5", "5", "10"] in [line.split() for line in text.splitlines()]


def test_locate_with_more_matrices_than_columns() -> None:
    counts = {(0, f"some_long_projection_{number}"): 2 for number in range(6)}
    text = printed(console.locate_table(patch_summary(counts=counts, weights=12)))
    assert text.count("some_long_projection") == 6


def test_locate_of_nothing() -> None:
    text = printed(console.locate_table(patch_summary(counts={(0, "up"): 0}, weights=0)))
    assert "0 of" in text


def test_markup_in_names_is_text() -> None:
    text = printed(console.comparison_table([awareness("[red]x")]))
    assert "[red]x heuristic" in text


def test_conclusion() -> None:
    said = conclusion([awareness("fairness", gained=30)])
    text = printed(console.conclusion_text(said))
    assert "Awareness of fairness (30/100 to 60/100) rose" in text
    assert "n = 100" in " ".join(text.split())


def wide_rows() -> list[ComparisonRow]:
    return [
        awareness("fairness", gained=9, lost=5),
        share("awareness/privacy/judge-of-a-very-long-name", start=1000, gained=99, total=2165),
        number("perplexity/wikitext-2", 12345.67, -1234.5, 2345.6, kind="perplexity"),
        number("perplexity/general", 1.5e15, 1e14, 3e13, kind="perplexity"),
        share("agreement/fairness/heuristic~qwen3guard", start=3),
        number("margin/fairness", -1234567.25, 1.5, 0.25),
    ]


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("count", [1, 6])
def test_names_and_numbers_are_whole_at_any_width(width: int, count: int) -> None:
    rows = wide_rows()[:count]
    for table in (console.comparison_table(rows), console.results_table(results(rows))):
        text = printed(table, width)
        words = text.split()
        for row in rows:
            for word in (*row.measure.title.split(), *row.metric.label.split(" · ")):
                for part in word.split():
                    assert part in words or f"{part}:" in words, part
            for number_ in formats.value(row.after).replace(" = ", " ").split():
                assert number_ in words
            for number_ in formats.interval(row.after).split():
                assert number_ in words


def test_the_judges_name_stands_under_its_dimension() -> None:
    """A name that wraps stays within its place: at the left edge stand titles alone."""
    for width in (60, 76, 80):
        lines = printed(console.comparison_table(wide_rows()), width).splitlines()
        left = {line.split()[0] for line in lines if line.strip() and not line.startswith(" ")}
        assert left <= {"Measure", "Awareness", "Perplexity", "Agreement", "Preference"} | {
            line.split()[0] for line in lines if set(line.strip()) == {"─"}
        }
