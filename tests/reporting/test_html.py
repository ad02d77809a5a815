from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from declutch.comparing.comparison import MeasureTable
from declutch.comparing.results import CheckRecord
from declutch.reporting import html
from declutch.reporting.conclusion import conclusion
from declutch.reporting.picture import Drawing
from declutch.reporting.values import ReportInput
from tests.reporting.fakes import (
    awareness,
    layers,
    number,
    patch_summary,
    reply_pair,
    report_input,
)

DRAWING = Drawing("x", "A figure", "What it shows", "all values in words", b"\x89PNG", 10, 20)
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects tags and checks that they nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def page(report: ReportInput, drawings: tuple[Drawing, ...] = ()) -> str:
    said = conclusion(report.rows, dimensions=report.dimensions)
    return html.render(report, said, drawings)


@pytest.fixture
def report(tmp_path: Path) -> ReportInput:
    return report_input(tmp_path)


def test_loads_nothing_and_runs_nothing(report: ReportInput) -> None:
    text = page(report, (DRAWING,))
    parsed = Page(text)
    assert not parsed.open
    names = {tag for tag, _ in parsed.tags}
    assert not names & {"script", "link", "iframe", "object", "base", "form"}
    for tag, attributes in parsed.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href", "srcset", "poster", "action"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, name)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    assert not re.search(r"url\(|@import|https?:", style.group(1))
    assert any("default-src 'none'" in (meta.get("content") or "") for meta in parsed.named("meta"))


def test_accessible(report: ReportInput) -> None:
    parsed = Page(page(report, (DRAWING,)))
    images = parsed.named("img")
    assert images
    assert all(image["alt"] and image["width"] and image["height"] for image in images)
    assert all("scope" in header for header in parsed.named("th"))
    assert parsed.named("html")[0]["lang"] == "en"
    assert len(parsed.named("h1")) == 1


def test_text_of_models_and_users_is_escaped(report: ReportInput) -> None:
    evil = '"><script>x</script>'
    row = awareness(evil)
    text = page(
        report_input(
            report.out,
            model_id=evil,
            rows=(*report.rows, row),
            settings={evil: {evil: evil}},
            notes=(evil,),
            patch=patch_summary(rule=evil, notes=(evil,)),
        )
    )
    assert "<script" not in text
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in text
    assert "Prompt &lt;b&gt;0&lt;/b&gt;" in text
    Page(text)


def test_order_of_the_parts(report: ReportInput) -> None:
    text = page(report, (replace(DRAWING, title="At a glance", first=True), DRAWING))
    parts = [
        "<h1>owner/tiny", 'class="headline"', "<h3>At a glance", 'id="table"', 'id="figures"',
        "<h3>A figure", 'id="replies"', 'id="patch"', 'id="settings"', 'id="limits"',
    ]  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "2 January 2026, 03:04 UTC" in text


def test_every_metric_is_there_with_its_numbers(report: ReportInput) -> None:
    text = page(report)
    for row in report.rows:
        never = row.name.startswith("empty/")
        assert (row.metric.label in text) != never
    assert "30/100 = 30.0\u00a0%" in re.sub(r"&nbsp;", "\u00a0", text)
    assert "9 gained, 5 lost" in text
    assert "within noise" in text


def test_what_did_not_change_is_folded_and_what_never_occurred_left_out(
    report: ReportInput,
) -> None:
    moved = number("wording/sorry", 5.0, 2.0, 0.5)
    same = number("wording/unfortunately", 5.0, 0.1, 0.5)
    never = number("wording/harmful", 0.0, 0.0, 0.0)
    rows = (*report.rows, moved, same, never)
    text = page(report_input(report.out, rows=rows))
    table, _, folded = text.partition("</table>")
    assert "sorry" in table
    assert "unfortunately" not in table
    assert "unfortunately" in folded
    assert "Wording: 1 that did not detectably change" in folded
    assert "Wording: 1 that never occurred, before or after, are left out." in folded
    assert "harmful</th>" not in text
    # What a patch is for, and what must not be lost, is shown though it did not change.
    assert "within noise" in table


def test_guards_and_tables_of_measures(report: ReportInput) -> None:
    check = CheckRecord(
        guard="fairness>=0.3", metric="awareness/fairness/x", mode="lenient", held=True,
        reason="34/100 is not below 0.3",
    )  # fmt: skip
    shifted = MeasureTable("Phrases found to shift", ("Phrase", "Before"), [("so & so", "3")], [])
    text = page(report_input(report.out, checks=(check,), tables={"wording": shifted}))
    assert re.search(r">held</span> <code>fairness&gt;=0.3</code> 34/100 is not below", text)
    assert '<th scope="row">so &amp; so</th><td data-label="Before">3</td>' in text
    Page(text)


def test_groups_that_come_later_are_shown_unchanged(report: ReportInput) -> None:
    rows = (*report.rows, number("novelty/thing", 1.0, 0.5, 0.1), *layers(5))
    text = page(report_input(report.out, rows=rows))
    assert "Novelty" in text
    assert "all 5 values" in text
    assert "cka · last token · layer 4" in text


def test_commands_settings_and_hashes(report: ReportInput) -> None:
    text = page(report)
    assert f"declutch apply owner/tiny {report.out}/patch -o PATCHED" in text
    assert "declutch revert PATCHED" in text
    assert "decoding.max_new_tokens" in text
    assert ("9a" * 32) in text
    assert "torch&nbsp;2.13.0" in text


def test_limits_name_judge_and_size(report: ReportInput) -> None:
    text = page(report)
    assert "phrases of caution and refusal" in text
    assert "135 million parameters" in text
    assert "not compression" in text
    large = page(replace(report, model_parameters=7_000_000_000))
    assert "million parameters" not in large


def test_bare_report(report: ReportInput) -> None:
    bare = report_input(
        report.out, rows=(awareness("fairness"),), replies=(), scored=(), settings={},
        versions={}, model_parameters=None, revision=None,
        patch=patch_summary(counts={}, weights=0),
    )  # fmt: skip
    text = page(bare)
    assert 'id="replies"' not in text
    Page(text)


def test_same_reply_is_shown_once(report: ReportInput) -> None:
    before, _ = reply_pair(0, "aware", "aware")
    assert page(report_input(report.out, replies=((before, before),))).count("alert") == 1
