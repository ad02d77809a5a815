"""How the cost of scoring grows with examples, tokens and layers, beside the floor.

``python -m benchmarks.curves REPEATS SPEC.json FOLDER`` leaves ``curves.json`` in FOLDER. All
points are measured in one process, in turn, and the best time of each counts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

from benchmarks.record import machine
from benchmarks.setup import Bench, Spec, prepare, random_examples
from benchmarks.ways import WAYS
from declutch.files import atomic_path, write_json
from declutch.versions import versions

CURVES = ("declutch", "plain", "lean_passes")
LABELS = {
    "declutch": "declutch",
    "plain": "plain forward and backward",
    "lean_passes": "our passes, no product",
}
_TOKENS = (32, 64, 128, 256, 512)
_AT_ONE_LENGTH = 8
IMAGES = Path(__file__).parents[1] / "docs" / "images"


def points(bench: Bench) -> dict[str, list[tuple[int, Bench]]]:
    """What each curve is measured at: a number, and a bench for it."""
    count, blocks = len(bench.examples), bench.blocks
    vocabulary = int(bench.model.config.vocab_size)
    by_examples = [(n, replace(bench, examples=bench.examples[:n])) for n in _steps(count)]
    by_tokens = [
        (length, replace(bench, examples=random_examples(
            0, vocabulary, 0, [length] * min(count, _AT_ONE_LENGTH)
        )))
        for length in _TOKENS
    ]  # fmt: skip
    by_layers = [
        (n, replace(bench, matrices=tuple(m for m in bench.matrices if m.layer >= blocks - n)))
        for n in _steps(blocks)
    ]
    return {"examples": by_examples, "tokens": by_tokens, "layers": by_layers}


def _steps(most: int) -> list[int]:
    return sorted({max(1, round(most * part)) for part in (0.125, 0.25, 0.5, 0.75, 1.0)})


def measure(bench: Bench, repeats: int) -> list[dict[str, Any]]:
    """The best time of each way at each point."""
    rows: list[dict[str, Any]] = []
    benches: list[Bench] = []
    for curve, entries in points(bench).items():
        for at, one in entries:
            for way in CURVES:
                size = {"examples": len(one.examples), "tokens": one.tokens}
                rows.append({"curve": curve, "at": at, "way": way, "seconds": inf, **size})
                benches.append(one)
    warm = replace(bench, examples=bench.examples[:2])
    for way in CURVES:
        WAYS[way](warm)
    for _ in range(repeats):
        for row, one in zip(rows, benches, strict=True):
            row["seconds"] = min(row["seconds"], WAYS[row["way"]](one).seconds)
    return rows


def plot(result: dict[str, Any], folder: Path | None = None) -> Path:
    """Draw the three curves side by side; returns the file."""
    from declutch.reporting.style import DPI, SERIES, look, new_figure

    folder = folder or IMAGES
    name = result["settings"]["shape"] or Path(result["settings"]["model"]).name
    device = result["settings"]["device"].partition(":")[0]
    path = folder / f"scoring-cost-{name}-{device}.png"
    titles = {
        "examples": "examples",
        "tokens": "tokens of each example",
        "layers": "layers scored, from the top",
    }
    with look():
        figure = new_figure(10, 3.4)
        for axes, (curve, label) in zip(figure.subplots(1, 3), titles.items(), strict=True):
            for way, color in zip(CURVES, SERIES, strict=False):
                chosen = [r for r in result["rows"] if r["curve"] == curve and r["way"] == way]
                x, y = [r["at"] for r in chosen], [r["seconds"] for r in chosen]
                axes.plot(x, y, color=color, marker="o", markersize=4, label=LABELS[way])
            axes.set_xlabel(label)
            axes.set_xlim(left=0)
            axes.set_ylim(bottom=0)
            axes.set_title(_caption(result["rows"], curve))
        figure.axes[0].set_ylabel("seconds")
        figure.axes[0].legend(frameon=False, fontsize=8)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=DPI)
    return path


def _caption(rows: Sequence[dict[str, Any]], curve: str) -> str:
    last = [row for row in rows if row["curve"] == curve][-1]
    if curve == "examples":
        return f"{last['tokens'] / last['examples']:.0f} tokens each"
    if curve == "tokens":
        return f"{last['examples']} examples"
    return f"{last['examples']} examples, {last['tokens']} tokens"


def main(repeats: int, spec: Spec, folder: Path) -> None:
    """Measure and write."""
    before = machine()
    bench = prepare(spec)
    write_json(
        folder / "curves.json",
        {
            "kind": "curves",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": before,
            "versions": versions(),
            "settings": vars(spec),
            "repeats": repeats,
            "rows": measure(bench, repeats),
        },
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), Spec(**json.loads(Path(sys.argv[2]).read_text())), Path(sys.argv[3]))
