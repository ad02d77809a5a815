"""One self-contained page: no script, no network, nothing but this file."""

from __future__ import annotations

import base64
import re
from typing import Any

import jinja2

from declutch.reporting import formats, limits, replies
from declutch.reporting.figures import Drawing
from declutch.reporting.texts import commands, date_in_words, flatten
from declutch.reporting.values import GROUP_NOTES, ReportInput, Row, grouped, layer_series
from declutch.reporting.verdict import Verdict

_MARKS = {"better": "▲", "worse": "▼", "higher": "△", "lower": "▽"}


def render(report: ReportInput, verdict: Verdict, drawings: tuple[Drawing, ...]) -> str:
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
    judge = replies.first_judge(report.replies)
    return environment.get_template("report.html.j2").render(
        report=report,
        patch=report.patch,
        verdict=verdict,
        date=date_in_words(report.created),
        tables=[_table(group, rows) for group, rows in grouped(report.rows).items()],
        drawings=[(drawing, base64.b64encode(drawing.png).decode("ascii")) for drawing in drawings],
        reply_rule=replies.rule(judge),
        reply_sets=replies.choose(report.replies, judge),
        limits=limits.limits(report),
        share=limits.share(report),
        formats=formats,
        commands=commands(report.model_id, str(report.out / "patch")),
        settings={step: list(flatten(values)) for step, values in report.settings.items()},
    )


def _unbroken(text: str) -> str:
    """Keep «95 %», «p < 0.001» and «n = 100» on one line."""
    return re.sub(r" (?=%)|(?<=\b[pn]) (?=[=<])|(?<=\b[pn] [=<]) ", "\u00a0", text)


def _table(group: str, rows: list[Row]) -> dict[str, Any]:
    series = {row.name for points in layer_series(rows).values() for _, row in points}
    return {
        "title": rows[0].metric.group_title,
        "note": GROUP_NOTES.get(group, ""),
        "rows": [_line(row) for row in rows if row.name not in series],
        # Hundreds of layers would bury the rest: they are folded away.
        "folded": [_line(row) for row in rows if row.name in series],
    }


def _line(row: Row) -> dict[str, str]:
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
        "n": f"{row.n_pairs:,}" if row.n_pairs else "",
        "changed": changed,
        "reading": row.reading,
        "mark": _MARKS.get(row.reading, ""),
    }
