"""Tables for the terminal: whole at 80 columns, and never a share without its count."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from declutch.comparing.comparison import ComparisonRow
from declutch.comparing.results import Metric, Results
from declutch.reporting import formats
from declutch.reporting.conclusion import Conclusion
from declutch.reporting.tables import NamedNumbers
from declutch.reporting.values import PatchSummary, grouped, single_rows

# Rows of the locate summary at most; more layers are put together.
_LAYER_ROWS = 16
_READING = {"better": "green", "worse": "red", "higher": "blue", "lower": "blue"}
_OUTCOME = {
    "improved": "green",
    "partly improved": "green",
    "worse": "red",
    "mixed": "yellow",
}


def comparison_table(rows: Sequence[ComparisonRow]) -> NamedNumbers:
    """Before and after, each with its interval on the line below.

    Left out are single layers, of which there may be hundreds, and kinds of replies that did not
    detectably change; it says how many.
    """
    table = NamedNumbers("Measure", "Before", "After", "Change", "p")
    quiet = ("no change", "within noise")
    for row in _shown(
        table, rows, lambda row: row.reading in quiet,
        "kinds of replies that did not detectably change, single layers) are in the report",
    ):  # fmt: skip
        table.row(
            _name(row),
            (_value(row.before), formats.interval(row.before)),
            (_value(row.after), formats.interval(row.after)),
            (formats.difference(row).replace(" points", " pt"), formats.difference_interval(row)),
            formats.p_value(row.p).replace("< ", "<"),
            note=Text(row.reading, _READING.get(row.reading, "dim")),
        )
    return table


def results_table(results: Results) -> NamedNumbers:
    """The metrics of one evaluation; single layers and what was never counted are left out."""
    table = NamedNumbers("Measure", "Value", "95 % interval")
    rows = [
        ComparisonRow(
            name=metric.name, before=metric, after=metric, measure=results.measure_of(metric)
        )
        for metric in results.metrics
    ]
    for row in _shown(
        table, rows, lambda row: row.metric.value == 0,
        "layers; phrases and kinds of replies that never occurred) are in results.json",
    ):  # fmt: skip
        table.row(_name(row), _value(row.after), formats.interval(row.after))
    return table


def _shown(
    table: NamedNumbers,
    rows: Sequence[ComparisonRow],
    dull: Callable[[ComparisonRow], bool],
    rest: str,
) -> Iterator[ComparisonRow]:
    """The rows to show, a section for each measure; at the end a caption tells of the rest."""
    hidden = len(rows)
    for members in grouped(rows).values():
        shown = [row for row in single_rows(members) if not (row.measure.quiet and dull(row))]
        hidden -= len(shown)
        if shown:
            table.section(members[0].measure.title)
        yield from shown
    if hidden:
        table.caption = f"{hidden:,} more ({rest}"


def locate_table(patch: PatchSummary) -> RenderableType:
    """Weights of each layer and matrix: layers without any left out, many put together."""
    head = Text(f"{patch.weights:,} of {patch.targeted:,} weights", "bold")
    head.append(
        f" in {sum(1 for count in patch.counts.values() if count)} of {len(patch.counts)} places"
        f" (layer and matrix)\nrule {patch.rule}, ratio {formats.ratio(patch.ratio)}"
        + (f" of the {patch.granularity}s" if patch.units else ""),
        "not bold",
    )
    hit = [layer for layer in patch.layers if patch.total(layer=layer)]
    if not hit:
        return head
    # More kinds than fit side by side are listed down instead.
    if sum(len(kind) + 2 for kind in patch.kinds) > 64:
        kinds = table("Matrix", "Weights")
        for kind in patch.kinds:
            kinds.add_row(Text(kind), f"{patch.total(kind=kind):,}")
        return Group(head, kinds)
    layers = table("Layer", *patch.kinds, "all")
    width = math.ceil(len(patch.layers) / _LAYER_ROWS) if len(hit) > _LAYER_ROWS else 1
    for start in range(0, len(patch.layers), width):
        span = patch.layers[start : start + width]
        if not any(layer in hit for layer in span):
            continue
        name = str(span[0]) if len(span) == 1 else f"{span[0]}–{span[-1]}"
        sums = [sum(patch.total(layer=layer, kind=kind) for layer in span) for kind in patch.kinds]
        layers.add_row(
            Text(name), *(f"{n:,}" if n else Text("·", "dim") for n in [*sums, sum(sums)])
        )
    layers.add_section()
    layers.add_row(
        Text("all"), *(f"{patch.total(kind=kind):,}" for kind in patch.kinds), f"{patch.weights:,}"
    )
    return Group(head, layers)


def conclusion_text(said: Conclusion) -> RenderableType:
    """The plain sentences, the headline first."""
    parts: list[RenderableType] = [
        Text(said.headline, f"bold {_OUTCOME.get(said.outcome, '')}".strip())
    ]
    parts += [Padding(Text(line), (0, 0, 0, 2)) for line in (*said.details, *said.caveats)]
    return Group(*parts)


def table(*titles: str, words: int = 1) -> Table:
    """An empty table whose first columns are ``words`` and whose others are numbers."""
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    # Only words may wrap: half a number is worse than none.
    for title in titles[:words]:
        made.add_column(title, overflow="fold")
    for title in titles[words:]:
        made.add_column(title, no_wrap=True, justify="right")
    return made


def _name(row: ComparisonRow) -> str:
    return row.metric.label.replace(" · ", " ")


def _value(metric: Metric) -> str:
    return formats.value(metric).replace(" = ", " ")
