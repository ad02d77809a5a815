"""One self-contained page: no script, no network, nothing but this file."""

from __future__ import annotations

import base64
import re

import jinja2

from declutch.comparing.comparison import ComparisonRow
from declutch.reporting import exchanges, formats, limits
from declutch.reporting.conclusion import Conclusion
from declutch.reporting.picture import Drawing
from declutch.reporting.proof import proof_table
from declutch.reporting.stability import stability_table
from declutch.reporting.texts import commands, date_in_words, flatten
from declutch.reporting.units import units_table
from declutch.reporting.values import ReportInput, sections

_MARKS = {"better": "▲", "worse": "▼", "higher": "△", "lower": "▽"}


def render(report: ReportInput, said: Conclusion, drawings: tuple[Drawing, ...]) -> str:
    """The page as a string."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("declutch.reporting"),
        # Everything shown may come from a model or from a user's file.
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["nb"] = _unbroken
    environment.filters["line"] = _line
    judge = exchanges.first_judge(report.comparison.replies)
    return environment.get_template("report.html.j2").render(
        report=report,
        patch=report.patch,
        said=said,
        date=date_in_words(report.comparison.after.created),
        sections=sections(report.rows),
        found=[
            table
            for table in (
                units_table(report.patch),
                proof_table(report.tuned) if report.tuned and report.tuned.proven else None,
                stability_table(report),
                *report.comparison.tables.values(),
            )
            if table is not None and table.rows
        ],
        guards=report.comparison.checks or report.comparison.after.guards,
        drawings=drawings,
        data=lambda drawing: base64.b64encode(drawing.png).decode("ascii"),
        reply_rule=exchanges.rule(judge),
        reply_sets=exchanges.choose(report.comparison.replies, judge),
        limits=limits.limits(report),
        share=limits.share(report),
        formats=formats,
        commands=commands(report.model.id, str(report.out / "patch")),
        settings={step: list(flatten(values)) for step, values in report.settings.items()},
    )


def _unbroken(text: str) -> str:
    """Keep «95 %», «p < 0.001» and «n = 100» on one line."""
    return re.sub(r" (?=%)|(?<=\b[pn]) (?=[=<])|(?<=\b[pn] [=<]) ", "\u00a0", text)


def _line(row: ComparisonRow) -> dict[str, str]:
    changed = ""
    if row.gained is not None and row.lost is not None:
        changed = f"{row.gained:,} gained, {row.lost:,} lost"
    return {
        "label": row.metric.label,
        "note": row.metric.note,
        "before": formats.value(row.before),
        "before_interval": formats.interval(row.before),
        "after": formats.value(row.after),
        "after_interval": formats.interval(row.after),
        "difference": formats.difference(row),
        "difference_interval": formats.difference_interval(row),
        "p": formats.p_value(row.p),
        "p_holm": formats.p_value(row.p_holm),
        "n": formats.items(row.n_pairs, row.independent) if row.n_pairs else "",
        "changed": changed,
        "reading": row.reading,
        "mark": _MARKS.get(row.reading, ""),
    }
