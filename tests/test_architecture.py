"""The page on architecture shows the house as it stands."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
_MOST_LINES = 400


def test_the_drawing_is_current_and_there_is_no_cycle() -> None:
    rooms = runpy.run_path(str(ROOT / "docs/hooks/rooms.py"))
    drawn = rooms["drawing"](rooms["rooms"]())  # raises where rooms import each other
    committed = (ROOT / "docs/images/architecture.svg").read_text(encoding="utf-8")
    assert drawn == committed, "run «make docs» and commit docs/images/architecture.svg"


def test_no_file_is_too_long() -> None:
    for folder in ("src", "tests", "benchmarks", "docs/hooks", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= _MOST_LINES, f"{path}: {lines} lines"
