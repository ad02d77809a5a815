"""A table of named numbers that reads well at any width.

Names may wrap between words and numbers never do. Where the numbers leave no room for whole words
beside them, each name stands on a line of its own with its numbers below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from declutch.comparing.comparison import MeasureTable

_INDENT = 2  # of names below the title of their section


@dataclass(frozen=True)
class _Row:
    name: Text
    note: Text
    cells: tuple[tuple[str, ...], ...]


class NamedNumbers:
    """Rows of a name, a note on it, and cells of one or more lines.

    Args:
        titles: of the column of names and of all others.
        caption: a line below.
    """

    def __init__(self, *titles: str, caption: str = "") -> None:
        self.titles = titles
        self.caption = caption
        self._rows: list[_Row | Text] = []

    @classmethod
    def of(cls, found: MeasureTable) -> NamedNumbers:
        """What a measure or a search has to show; a cell may have several lines."""
        table = cls(found.title, *found.columns[1:], caption=found.note)
        for name, *cells in found.rows:
            table.row(name, *(cell.split("\n") for cell in cells))
        return table

    def section(self, title: str) -> None:
        """Begin a section."""
        self._rows.append(Text(title, "bold"))

    def row(self, name: str, *cells: str | Sequence[str], note: Text | None = None) -> None:
        """Add a row; of a cell's lines the first is the number and the others say more of it."""
        lines = tuple(
            tuple(filter(None, (cell,) if isinstance(cell, str) else cell)) for cell in cells
        )
        self._rows.append(_Row(Text(name), note or Text(), lines))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = [self._width(number) for number in range(len(self.titles) - 1)]
        if self._longest_word() + sum(width + 2 for width in widths) <= options.max_width:
            yield self._table(widths)
        else:
            yield from self._list()
        if self.caption:
            yield Text(self.caption, "dim italic")

    def _width(self, number: int) -> int:
        """Columns that the cells of a column of numbers take."""
        lines = [line for row in self._rows if isinstance(row, _Row) for line in row.cells[number]]
        return max(map(cell_len, (*lines, *self.titles[number + 1].split("\n"))))

    def _longest_word(self) -> int:
        texts = [
            (row.plain, 0) if isinstance(row, Text) else (f"{row.name.plain} {row.note.plain}", 2)
            for row in self._rows
        ]
        return max(
            (cell_len(word) + indent for text, indent in texts for word in text.split()), default=0
        )

    def _table(self, widths: Sequence[int]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        table.add_column(self.titles[0], overflow="fold")
        for title, width in zip(self.titles[1:], widths, strict=True):
            table.add_column(title, no_wrap=True, justify="right", min_width=width)
        for row in self._rows:
            if isinstance(row, Text):
                table.add_row(row)
                continue
            indent = _INDENT if any(isinstance(each, Text) for each in self._rows) else 0
            name = Text("\n").join(filter(len, (row.name, row.note)))
            table.add_row(Padding(name, (0, 0, 0, indent)), *map(_stacked, row.cells))
        return table

    def _list(self) -> Iterator[RenderableType]:
        first = max(map(cell_len, (title.replace("\n", " ") for title in self.titles[1:])))
        numbers = [
            cell[0] for row in self._rows if isinstance(row, _Row) for cell in row.cells if cell
        ]
        second = max(map(cell_len, numbers), default=0)
        for row in self._rows:
            if isinstance(row, Text):
                yield row
                continue
            name = Text(": ").join(filter(len, (row.name, row.note)))
            yield Padding(name, (0, 0, 0, _INDENT))
            for title, lines in zip(self.titles[1:], row.cells, strict=True):
                if lines:
                    text = Text(f"{title.replace(chr(10), ' '):<{first}}", "dim")
                    text.append(f"  {lines[0]:<{second}}", "not dim")
                    text.append("".join(f"  {more}" for more in lines[1:]))
                    yield Padding(text, (0, 0, 0, 2 * _INDENT))


def _stacked(lines: Sequence[str]) -> Text:
    """The number, and below it in a quieter way what else there is to say."""
    text = Text(lines[0] if lines else "", justify="right")
    for line in lines[1:]:
        text.append(f"\n{line}", "dim")
    return text
