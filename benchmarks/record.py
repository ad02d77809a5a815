"""What is kept of a benchmark run, and the tables made of it."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from declutch.files import read_json, write_text
from declutch.scoring.memory import format_size

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
_BEGIN, _END = (
    "<!-- benchmarks: made by python -m benchmarks.scoring --markdown -->",
    "<!-- end -->",
)

LABELS = {
    "per_layer": "per layer, our imitation",
    "hooks": "one pass, gradient hooks, one example at a time",
    "declutch": "**declutch**",
    "plain": "floor: plain forward and backward, same batches",
    "lean_gradients": "leaner floor: our passes, summed weight gradients of the targets",
    "lean_passes": "leanest floor: our passes, no product",
}


def machine() -> dict[str, Any]:
    """The machine, and how busy it was."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        name = found[1] if found else name
    return {
        "cpu": name,
        "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def summarise(runs: dict[str, list[dict[str, Any]]], blocks: int) -> dict[str, dict[str, Any]]:
    """Best and median time, speed and memory of each way; per layer, scaled to all layers."""
    ways: dict[str, dict[str, Any]] = {}
    for way, outcomes in runs.items():
        layers = outcomes[0]["layers"]
        scale = blocks / len(layers) if layers else 1.0
        seconds = sorted(outcome["seconds"] * scale for outcome in outcomes)
        ways[way] = {
            "seconds": [round(outcome["seconds"] * scale, 4) for outcome in outcomes],
            "best": seconds[0],
            "median": seconds[len(seconds) // 2],
            "tokens_per_second": outcomes[0]["tokens"] / seconds[0],
            "peak_bytes": max(outcome["peak_bytes"] for outcome in outcomes),
            "layers_timed": len(layers) or blocks,
            "layers": blocks,
        }
    for one in ways.values():
        if "plain" in ways:
            one["ratio_to_plain"] = one["best"] / ways["plain"]["best"]
        if "per_layer" in ways:
            one["times_faster_than_per_layer"] = ways["per_layer"]["best"] / one["best"]
    return ways


def table(result: dict[str, Any]) -> str:
    """One run as Markdown."""
    spec, settings = result["settings"], result["measured"]
    model = f"a {spec['shape']} model with random weights" if spec["shape"] else spec["model"]
    heading = (
        f"**{model}**, {settings['examples']} examples ({settings['tokens']} tokens, "
        f"{settings['counted_tokens']} counted; {result['data']}), target `{spec['target']}`, "
        f"{settings['dtype']}, {spec['batch_tokens']} tokens a batch, "
        f"{_where(result)}, best of {result['repeats']}, load average at the start "
        f"{result['machine']['load_average'][0]}."
    )
    rows = [
        "| way | seconds | tokens/s | to the floor | faster than per layer | peak memory |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, way in result["ways"].items():
        scaled = way["layers_timed"] < way["layers"]
        label = LABELS[name]
        if scaled:
            label += f" (timed on {way['layers_timed']} of {way['layers']} layers, scaled)"
        rows.append(
            f"| {label} | {way['best']:.4g} | {way['tokens_per_second']:.4g} | "
            f"{_times(way.get('ratio_to_plain'))} | "
            f"{_times(way.get('times_faster_than_per_layer'))} | "
            f"{format_size(way['peak_bytes'])} |"
        )
    return "\n".join((heading, "", *rows, "", _notes(result), "", f"`{result['command']}`", ""))


def _where(result: dict[str, Any]) -> str:
    measured, computer = result["measured"], result["machine"]
    if measured["device"] != "cpu":
        return str(measured["device"])
    threads = measured["threads"]
    return f"{computer['cpu']}, {threads} thread{'s' if threads > 1 else ''}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}×"


def _notes(result: dict[str, Any]) -> str:
    notes = []
    measured, disk = result["measured"], result["disk"]
    if ours := result["ways"].get("declutch"):
        beyond = ours["peak_bytes"] - measured["weights_bytes"] - measured["accumulator_bytes"]
        notes.append(
            f"declutch's peak is the weights ({format_size(measured['weights_bytes'])}), the sums "
            f"({format_size(measured['accumulator_bytes'])}) and {format_size(max(beyond, 0))} "
            "(Python, its libraries and activations)."
        )
    if disk["ours_bytes"]:
        notes.append(
            f"On disk a dimension takes {format_size(disk['ours_bytes'])}; the published full "
            f"float32 score matrices take {format_size(disk['published_bytes'])}."
        )
    if agreement := result["agreement"]:
        notes.append(
            f"Top 1e-4 of declutch and the per-layer way: the same positions in "
            f"{agreement['same']}/{agreement['matrices']} matrices "
            f"({agreement['positions']} positions; {len(agreement['ties'])} tied at float32 "
            f"rounding, {len(agreement['differences'])} different)."
        )
    return " ".join(notes)


def results(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Every recorded run, in order of name."""
    return [read_json(path) for path in sorted(folder.glob("*.json"))]


def fill_page(page: Path = PAGE, folder: Path = RESULTS) -> None:
    """Put the tables of all recorded runs between the marks of a page."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit(f"{page} has no «{_BEGIN}» ... «{_END}».")
    write_text(page, f"{before}{begin}\n\n{_body(results(folder))}\n{end}{after}")


def _body(runs: Iterable[dict[str, Any]]) -> str:
    tables = [table(run) for run in runs if run.get("kind") == "comparison"]
    return "\n".join(tables) or "No run is recorded yet.\n"
