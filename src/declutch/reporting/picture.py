"""What a picture of the report is, and where pictures are found."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from declutch.comparing.comparison import ComparisonRow
from declutch.registry import Registry
from declutch.reporting import formats, style

if TYPE_CHECKING:
    from declutch.reporting.values import ReportInput


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure as PNG bytes, with its file name, caption and alternative text, in CSS pixels.

    Attributes:
        first: whether it stands before the table of numbers.
    """

    name: str
    title: str
    caption: str
    alt: str
    png: bytes
    width: int
    height: int
    first: bool = False


@dataclass(frozen=True)
class Picture:
    """One kind of figure.

    Attributes:
        draw: the drawings of it that a report gives cause for; none, one or several.
        order: where it stands on the page, the lowest first; below :data:`BEFORE_TABLE` before the
            table of numbers, which is for the few that say at a glance what became of the model.
        shows: the measures that it shows, so that no general picture is made of them.
    """

    draw: Callable[[ReportInput], Iterator[Drawing]]
    order: int
    shows: frozenset[str] = frozenset()


BEFORE_TABLE = 50

PICTURES: Registry[Picture] = Registry("picture", "declutch.reporting.pictures", "picture")


def picture(
    name: str, *, order: int, shows: tuple[str, ...] = ()
) -> Callable[[Callable[[ReportInput], Iterator[Drawing]]], Picture]:
    """Make a drawing function known as a picture."""

    def register(draw: Callable[[ReportInput], Iterator[Drawing]]) -> Picture:
        return PICTURES.register(name)(Picture(draw, order, frozenset(shows)))

    return register


def draw_all(report: ReportInput) -> tuple[Drawing, ...]:
    """All the figures for which there is something to show, in the order of the page."""
    found = sorted((PICTURES.get(name) for name in PICTURES.names()), key=lambda one: one.order)
    return tuple(
        replace(drawing, first=each.order < BEFORE_TABLE)
        for each in found
        for drawing in each.draw(report)
    )


def shown_elsewhere() -> frozenset[str]:
    """The measures that a picture of their own shows."""
    return frozenset().union(*(PICTURES.get(name).shows for name in PICTURES.names()))


def drawing(name: str, title: str, caption: str, figure: Figure, alt: str) -> Drawing:
    """A figure, drawn.

    Args:
        name: of the file, made safe on every system: dimensions are named by the user.
    """
    file_name = "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip(".")[:100]
    buffer = io.BytesIO()
    # The look holds while drawing too: text is laid out only then.
    with style.look():
        # Without the version of matplotlib in it, the same numbers give the same bytes.
        figure.savefig(buffer, format="png", dpi=style.DPI, metadata={"Software": None})
    width, height = figure.get_size_inches()
    return Drawing(
        name=file_name,
        title=title,
        caption=caption,
        alt=alt,
        png=buffer.getvalue(),
        width=round(width * style.DPI / 2),
        height=round(height * style.DPI / 2),
    )


def in_words(rows: list[ComparisonRow]) -> str:
    """What a figure shows, for those who can't see it."""
    return "; ".join(
        f"{row.metric.label}: {formats.value(row.before)} before, {formats.value(row.after)} after"
        for row in rows
    )
