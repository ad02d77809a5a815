"""Draw the rooms of the package and the imports between them, from the code itself.

``python docs/hooks/rooms.py`` writes docs/images/architecture.svg; the site is built with the
same drawing, and a test sees that it is current.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import grimp

DOCS = Path(__file__).resolve().parents[1]
SOURCE = DOCS.parent / "src" / "declutch"
DRAWING = DOCS / "images" / "architecture.svg"
# Small modules that any room may use; arrows to them would say nothing.
GROUND = frozenset(
    {
        "errors", "extras", "files", "items", "locks", "packages", "progress", "ranges", "records",
        "registry", "settings", "terminal", "versions", "words",
    }
)  # fmt: skip
_ENTRANCE = frozenset({"__main__", "__init__"})

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _EDGE = 140, 46, 62, 54, 16


@dataclass(frozen=True)
class Room:
    """A package or a module at the top.

    Attributes:
        imports: the rooms that it imports, the ground left out.
        level: how many rooms stand below it, on the longest way down.
    """

    name: str
    files: int
    lines: int
    imports: frozenset[str]
    level: int = 0


def rooms() -> dict[str, Room]:
    """All rooms by name, the ground included.

    Raises:
        ValueError: two rooms import each other, directly or by way of others.
    """
    graph = grimp.build_graph("declutch", cache_dir=None, exclude_type_checking_imports=True)
    names = sorted(
        child.removeprefix("declutch.")
        for child in graph.find_children("declutch")
        if child.removeprefix("declutch.") not in _ENTRANCE
    )
    imports = {
        name: frozenset(
            other
            for other in names
            if other != name
            and other not in GROUND
            and graph.direct_import_exists(
                importer=f"declutch.{name}", imported=f"declutch.{other}", as_packages=True
            )
        )
        for name in names
    }
    levels = _levels(imports)
    return {name: Room(name, *_size(name), imports[name], levels[name]) for name in names}


def _levels(imports: Mapping[str, frozenset[str]]) -> dict[str, int]:
    levels: dict[str, int] = {}

    def level(name: str, above: tuple[str, ...]) -> int:
        if name in above:
            raise ValueError(f"a cycle of imports: {' → '.join((*above, name))}")
        if name not in levels:
            levels[name] = 1 + max(
                (level(other, (*above, name)) for other in sorted(imports[name])), default=-1
            )
        return levels[name]

    for name in imports:
        level(name, ())
    return levels


def _size(name: str) -> tuple[int, int]:
    folder = SOURCE / name
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [SOURCE / f"{name}.py"]
    return len(files), sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)


def table(found: Mapping[str, Room]) -> str:
    """Rooms with their sizes and imports, as a Markdown table, the highest first."""
    lines = ["| room | files | lines | imports |", "| --- | ---: | ---: | --- |"]
    for room in sorted(found.values(), key=lambda one: (-one.level, one.name)):
        above = ", ".join(f"`{name}`" for name in sorted(_direct(room, found))) or "–"
        lines.append(f"| `{room.name}` | {room.files} | {room.lines:,} | {above} |")
    total = [sum(getattr(room, key) for room in found.values()) for key in ("files", "lines")]
    return "\n".join([*lines, f"| all | {total[0]} | {total[1]:,} | |"])


def _direct(room: Room, found: Mapping[str, Room]) -> set[str]:
    """Its imports, less those that another of its imports brings along: what an arrow shows."""
    below: set[str] = set()
    for name in room.imports:
        below |= _reach(name, found)
    return set(room.imports) - below


def _reach(name: str, found: Mapping[str, Room]) -> set[str]:
    reached: set[str] = set()
    for other in found[name].imports:
        reached |= {other} | _reach(other, found)
    return reached


def drawing(found: Mapping[str, Room]) -> str:
    """The rooms level by level as SVG; an arrow points from a room to one that it imports."""
    shown = [room for room in found.values() if room.name not in GROUND]
    rows: dict[int, list[Room]] = {}
    for room in sorted(shown, key=lambda one: one.name):
        rows.setdefault(room.level, []).append(room)
    top = max(rows)
    widest = max(map(len, rows.values()))
    width = 2 * _EDGE + widest * _WIDTH + (widest - 1) * _GAP_X
    height = 2 * _EDGE + (top + 2) * _HEIGHT + (top + 1) * _GAP_Y
    places: dict[str, tuple[float, float]] = {}
    for level, members in rows.items():
        row = len(members) * _WIDTH + (len(members) - 1) * _GAP_X
        for index, room in enumerate(members):
            x = (width - row) / 2 + index * (_WIDTH + _GAP_X)
            places[room.name] = x, _EDGE + (top - level) * (_HEIGHT + _GAP_Y)
    arrows = [
        _arrow(places[room.name], places[name])
        for room in shown
        for name in sorted(_direct(room, found))
    ]
    boxes = [_box(*places[room.name], _WIDTH, room.name) for room in shown]
    ground = textwrap.wrap(", ".join(sorted(GROUND & set(found))), 72)
    floor = _EDGE + (top + 1) * (_HEIGHT + _GAP_Y)
    height += 16 * (len(ground) - 1)
    boxes.append(_box(_EDGE, floor, width - 2 * _EDGE, "the ground, for all", ground, "ground"))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" '
            'aria-label="Rooms of the package and the imports between them">',
            "<style>rect{fill:#f5f6f8;stroke:#57606a}.ground{fill:#fff;stroke-dasharray:4 3}"
            "text{font:600 14px system-ui,sans-serif;text-anchor:middle;fill:#1b1f24}"
            ".sub{font-weight:400;font-size:11px;fill:#57606a}"
            "path{fill:none;stroke:#8b949e;stroke-width:1.2}</style>",
            '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><polygon points="0,0 8,4 0,8" fill="#8b949e"/>'
            "</marker></defs>",
            *arrows,
            *boxes,
            "</svg>\n",
        ]
    )


def _box(
    x: float, y: float, width: float, title: str, subs: Sequence[str] = (), style: str = ""
) -> str:
    middle = x + width / 2
    height = _HEIGHT + 16 * max(0, len(subs) - 1)
    first = y + (20 if subs else 28)
    texts = [f'<text x="{middle:g}" y="{first:g}">{escape(title)}</text>']
    texts += [
        f'<text class="sub" x="{middle:g}" y="{first + 16 * n:g}">{escape(sub)}</text>'
        for n, sub in enumerate(subs, start=1)
    ]
    box = f'<rect class="{style}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height}" rx="6"/>'
    return box + "".join(texts)


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1 = start[0] + _WIDTH / 2, start[1] + _HEIGHT
    x2, y2 = end[0] + _WIDTH / 2, end[1]
    bend = max(_GAP_Y / 2, (y2 - y1) / 2)
    return (
        f'<path d="M{x1:g},{y1:g} C{x1:g},{y1 + bend:g} {x2:g},{y2 - bend:g} {x2:g},{y2:g}" '
        'marker-end="url(#a)"/>'
    )


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the table where a page asks for it (a hook of MkDocs)."""
    return (
        markdown.replace("<!-- rooms -->", table(rooms()))
        if "<!-- rooms -->" in markdown
        else markdown
    )


if __name__ == "__main__":
    DRAWING.write_text(drawing(rooms()), encoding="utf-8")
