"""From a source to the examples used: read, filter, drop, sample, report."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from declutch.data.bundled import bundled_rows
from declutch.data.cells import quoted
from declutch.data.columns import Cells, find_layout, read_cells
from declutch.data.example import Example
from declutch.data.filters import RowFilter
from declutch.data.held import IN_MEMORY, Rows, is_rows, table_of_rows
from declutch.data.load_report import OF_TURNS, Unfit, counted
from declutch.data.load_report import LoadReport as LoadReport
from declutch.data.reading import Table, read_file
from declutch.data.sources import Source
from declutch.data.turns import UnfitRow
from declutch.errors import DataError, SettingsError
from declutch.files import sha256_json
from declutch.progress import track

_ROWS_SHOWN = 5
_PROGRESS_FROM = 20_000


@dataclass(frozen=True, slots=True)
class LoadedData:
    """The examples used, where they came from, and a hash of them.

    ``sha256`` is that of the canonical JSON of a list with an object for each example, in order:
    prompt, response and bad_response (ids are left out: they change nothing that is computed).
    """

    examples: tuple[Example, ...]
    source: Source
    sha256: str
    report: LoadReport


def load_examples(
    source: Source | str | Path | Mapping[str, Any] | Rows,
    *,
    num_samples: int | None = 128,
    seed: int = 0,
    allow_fewer: bool = False,
    require_response: bool = True,
) -> LoadedData:
    """Read a source, or rows in memory, drop what can't be used, and take a seeded sample.

    Rows are filtered by the source's conditions; rows with an empty prompt or response and exact
    duplicates (same prompt and response, blanks at the ends aside; the first one stays) are
    dropped and counted. The sample is drawn without replacement by ``random.Random(seed)`` out of
    the examples in sorted order, and kept in the order drawn. So it depends only on the content
    and the seed, not on the file's format or its row order, and a sample of 64 is the beginning
    of the sample of 128 with the same seed. ``num_samples=None`` takes every example in the
    source's order.

    With ``require_response=False`` (prompts to be answered) a response may be missing, and a
    repeated prompt makes a duplicate whatever its response.

    Raises:
        DataError: the source can't be read or understood, or has fewer examples than asked and
            ``allow_fewer`` is off.
        SettingsError: ``num_samples`` is below 1.
        MissingExtra: a package for this kind of source is not installed.
    """
    if num_samples is not None and num_samples < 1:
        raise SettingsError(f"The number of samples must be at least 1; it is {num_samples}.")
    if is_rows(source):
        table, parsed = table_of_rows(source), IN_MEMORY
    else:
        parsed = Source.parse(source)
        table = read_table(parsed)
    return load_table(
        table,
        parsed,
        num_samples=num_samples,
        seed=seed,
        allow_fewer=allow_fewer,
        require_response=require_response,
    )


def read_table(source: Source) -> Table:
    """The rows of a source as they are, before filters and columns.

    Raises:
        DataError: it can't be read.
        MissingExtra: a package for this kind of source is not installed.
    """
    if source.kind == "bundled":
        return Table.of_rows(source.path, bundled_rows(source.name))
    if source.kind == "hub":
        from declutch.data.hub import read_hub

        return read_hub(source)
    return read_file(source.path)


def load_table(
    table: Table,
    source: Source,
    *,
    num_samples: int | None = 128,
    seed: int = 0,
    allow_fewer: bool = False,
    require_response: bool = True,
) -> LoadedData:
    """The part of :func:`load_examples` after reading."""
    layout = find_layout(table.columns, source, table.name, require_response=require_response)
    row_filter = RowFilter(source.where, table.columns, table.name)
    pool = _Pool(by_prompt=not require_response)
    for number, row in enumerate(_watched(table), start=1):
        place = f"{table.name}, row {number}"
        try:
            if row_filter.keep(row):
                pool.add(number, read_cells(row, layout, place), place)
            else:
                pool.counts["filtered"] += 1
        except UnfitRow as reason:
            pool.drop(number, str(reason))
        except RecursionError as error:
            raise DataError(f"{place}: a cell is nested too deep to be read.") from error
    row_filter.finish(pool.seen)

    examples = pool.examples if num_samples is None else _sample(pool.examples, num_samples, seed)
    report = LoadReport(
        source=str(source),
        columns=layout.describe(),
        rows=pool.seen + pool.counts["filtered"],
        empty_prompts=len(pool.empty_prompts),
        empty_prompt_rows=tuple(pool.empty_prompts[:_ROWS_SHOWN]),
        empty_responses=len(pool.empty_responses),
        empty_response_rows=tuple(pool.empty_responses[:_ROWS_SHOWN]),
        unfit=tuple(
            Unfit(reason, len(rows), tuple(rows[:_ROWS_SHOWN]))
            for reason, rows in pool.unfit.items()
        ),
        by_prompt=not require_response,
        available=len(pool.examples),
        requested=num_samples,
        used=len(examples),
        prompts=len({example.prompt.strip() for example in examples}),
        seed=seed,
        note=table.note,
        **pool.counts,
    )
    _check_enough(report, table.name, allow_fewer=allow_fewer)
    return LoadedData(tuple(examples), source, examples_sha256(examples), report)


def examples_sha256(examples: Iterable[Example]) -> str:
    """The hash of what is computed with: prompts, responses and bad responses, in order."""
    names = ("prompt", "response", "bad_response")
    return sha256_json([{name: getattr(each, name) for name in names} for each in examples])


class _Pool:
    """Collects the examples that can be used and counts those that can't."""

    def __init__(self, *, by_prompt: bool) -> None:
        self.by_prompt = by_prompt
        self.examples: list[Example] = []
        self.empty_prompts: list[int] = []
        self.empty_responses: list[int] = []
        self.unfit: dict[str, list[int]] = {}
        self.seen = 0
        self.counts = dict.fromkeys(("filtered", "duplicates", *OF_TURNS), 0)
        self._keys: set[tuple[str, str]] = set()
        self._rows: dict[str, int] = {}

    def drop(self, number: int, reason: str) -> None:
        self.seen += 1
        self.unfit.setdefault(reason, []).append(number)

    def add(self, number: int, cells: Cells, place: str) -> None:
        self.seen += 1
        if cells.exchange:
            for name in OF_TURNS:
                self.counts[name] += getattr(cells.exchange, name.removesuffix("_turns"))
        prompt, response = cells.prompt.strip(), cells.response.strip()
        if not prompt:
            self.empty_prompts.append(number)
            return
        if not response and not self.by_prompt:
            self.empty_responses.append(number)
            return
        key = (prompt, "" if self.by_prompt else response)
        if key in self._keys:
            self.counts["duplicates"] += 1
            return
        self._keys.add(key)
        name = cells.id or f"row-{number}"
        if name in self._rows:
            raise DataError(
                f"{place}: the id {quoted([name])} is that of row {self._rows[name]} too, which "
                "holds something else. Give each row an id of its own, or leave the column out."
            )
        self._rows[name] = number
        self.examples.append(
            Example(cells.prompt, cells.response, name, cells.bad_response, cells.cluster)
        )


def _sample(examples: list[Example], count: int, seed: int) -> list[Example]:
    # A whole shuffle, since random.sample(x, 64) is not the beginning of random.sample(x, 128).
    drawn = sorted(examples, key=lambda example: (example.prompt, example.response))
    random.Random(seed).shuffle(drawn)
    return drawn[:count]


def _watched(table: Table) -> Iterable[Mapping[str, Any]]:
    if table.count < _PROGRESS_FROM:
        return table.rows
    return track(table.rows, f"Reading {table.name}", total=table.count)


def _check_enough(report: LoadReport, name: str, *, allow_fewer: bool) -> None:
    wanted = 1 if allow_fewer or report.requested is None else report.requested
    if report.used >= wanted:
        return
    losses = "; ".join([counted(report.rows, "row"), *report.losses()])
    if not report.used:
        raise DataError(f"{name} has no examples that can be used ({losses}).")
    raise DataError(
        f"{name} has {counted(report.available, 'different example')}, and {wanted:,} "
        f"were asked for ({losses}). Ask for fewer with --num-samples {report.available}, or use "
        "what is there with --allow-fewer."
    )
