"""The table of what other samples of the data give."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

from declutch.comparing.comparison import MeasureTable
from declutch.reporting import formats
from declutch.reporting.values import ReportInput
from declutch.stability import Stability


def stability_table(report: ReportInput) -> MeasureTable | None:
    """How the changes scatter over samples, and what these have in common; None for one sample."""
    found = report.stability
    if found is None:
        return None
    rows = []
    for each in found.metrics:
        row = report.comparison.row(each.metric)
        over = replace(row, low=each.lowest, high=each.highest)
        spread = formats.difference(replace(row, difference=each.sd)).removeprefix("+")
        rows.append(
            (
                f"{row.measure.title} {row.metric.label}".replace(" · ", " "),
                formats.difference(row).replace(" points", " pt"),
                formats.difference_interval(row),
                formats.difference_interval(over),
                spread.replace(" points", " pt"),
            )
        )
    columns = ("Metric", "Change", "95 % interval", "Samples", "SD")
    values = [each.model_dump(mode="json") for each in found.metrics]
    return MeasureTable("Other samples of the data", columns, rows, values, _note(found))


def _note(found: Stability) -> str:
    counts = sorted(found.weights.values())
    alike = [each.jaccard for each in found.overlaps if each.jaccard is not None]
    text = (
        f"{len(counts)} samples (seeds {', '.join(map(str, found.weights))}) choose {counts[0]:,} "
        f"to {counts[-1]:,} weights: {found.in_all:,} are in all of them, {found.in_any:,} in any."
    )
    if alike:
        text += (
            f" Two share {100 * fmean(alike):.0f} % of what either chooses ({100 * min(alike):.0f} "
            f"to {100 * max(alike):.0f} %)."
        )
    return (
        f"{text} The interval takes the run's own sample as given; «Samples» is the least and the "
        "greatest change, and SD the standard deviation, over the samples."
    )
