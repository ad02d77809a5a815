"""Time scoring beside the other ways and the floor: ``python -m benchmarks.scoring``.

Each way runs in a process of its own, so that its peak memory is its own; the ways take turns, so
that a busy moment of the machine hits them alike; the best of the repeats counts.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.agreement import compare
from benchmarks.record import RESULTS, fill_page, machine, summarise, table
from benchmarks.setup import SHAPES, Spec
from benchmarks.ways import WAYS
from declutch.files import read_json, write_json, write_text
from declutch.progress import track
from declutch.versions import versions


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parse = argparse.ArgumentParser("python -m benchmarks.scoring", description=__doc__)
    add = parse.add_argument
    add("--model", default="demo", help="folder, hub id, GGUF file or demo (default)")
    add("--shape", choices=SHAPES, help="a model with random weights in place of --model")
    add("--data", default="bundled:privacy", help="source of examples (random ones with --shape)")
    add("--examples", type=int, default=32)
    add("--target", default="mlp", help="mlp (default), attention, all, or an expression")
    add("--layers", type=int, default=4, help="layers that the per-layer way is timed on (4)")
    add("--full", action="store_true", help="time the per-layer way on every layer")
    add("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="only these")
    add("--repeats", type=int, default=3)
    add("--batch-tokens", type=int, help="padded tokens a batch (384; 4096 on a GPU)")
    add("--device", help="cpu or cuda (default: a GPU if there is one)")
    add("--dtype", default="auto")
    add("--threads", type=int, default=0, help="CPU threads (default: torch's own number)")
    add("--out", type=Path, help="default: benchmarks/results/NAME.json, after the model")
    add("--curves", action="store_true", help="how cost grows, in place of the comparison")
    add("--images", type=Path, help="folder for the curves' plot (default: docs/images)")
    add("--markdown", action="store_true", help="only fill docs/performance.md from the results")
    return parse


def make_spec(options: argparse.Namespace) -> Spec:
    """The settings of the workers."""
    device = options.device or _default_device()
    return Spec(
        model=options.model,
        shape=options.shape,
        data=options.data,
        examples=options.examples,
        target=options.target,
        layers=None if options.full else options.layers,
        batch_tokens=options.batch_tokens or (4096 if device.startswith("cuda") else 384),
        device=device,
        dtype=options.dtype,
        threads=options.threads,
    )


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def run_worker(module: str, arguments: list[str], spec: Spec, folder: Path) -> None:
    """Run a worker process to its end.

    Raises:
        SystemExit: it failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "spec.json", asdict(spec))
    command = [sys.executable, "-m", module, *arguments, str(folder / "spec.json"), str(folder)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=False)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} failed with status {done.returncode}.")


def compare_ways(spec: Spec, ways: list[str], repeats: int, folder: Path) -> dict[str, Any]:
    """Run the ways in turn, ``repeats`` times, and put together what is recorded."""
    before = machine()
    turns = [(repeat, way) for repeat in range(repeats) for way in ways]
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for repeat, way in track(turns, "Running each way in turn"):
        place = folder / f"{way}-{repeat}"
        run_worker("benchmarks.worker", [way], spec, place)
        runs[way].append(read_json(place / "outcome.json"))
    measured = runs[ways[0]][0]
    files = {way: folder / f"{way}-0" / "shortlists.safetensors" for way in ways}
    agreement = None
    if {"per_layer", "declutch"} <= set(ways):
        sizes = measured["matrices"]
        agreement = vars(compare(files["per_layer"], files["declutch"], sizes))
    ours = files.get("declutch")
    return {
        "kind": "comparison",
        "command": shlex.join(["python", "-m", "benchmarks.scoring", *sys.argv[1:]]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": before,
        "versions": versions(),
        "settings": asdict(spec),
        "repeats": repeats,
        "data": "random tokens" if spec.shape else spec.data,
        "measured": {
            key: value
            for key, value in measured.items()
            if key not in ("seconds", "layers", "peak_bytes", "matrices")
        },
        "ways": summarise(runs, measured["blocks"]),
        "agreement": agreement,
        "disk": {
            "ours_bytes": ours.stat().st_size if ours else 0,
            "published_bytes": measured["accumulator_bytes"],
        },
    }


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    options = parser().parse_args(arguments)
    if options.markdown:
        fill_page()
        return
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    spec = make_spec(options)
    name = spec.shape or Path(spec.model).name.lower()
    with tempfile.TemporaryDirectory() as folder:
        if options.curves:
            out = options.out or RESULTS / f"{name}-{spec.device.partition(':')[0]}-curves.json"
            run_worker("benchmarks.curves", [str(options.repeats)], spec, Path(folder))
            result = read_json(Path(folder) / "curves.json")
            result["command"] = shlex.join(["python", "-m", "benchmarks.scoring", *sys.argv[1:]])
            write_json(out, result)
            from benchmarks.curves import plot

            print(f"{out}\n{plot(result, options.images)}")
            return
        out = options.out or RESULTS / f"{name}-{spec.device.partition(':')[0]}.json"
        result = compare_ways(spec, options.ways, options.repeats, Path(folder))
    write_json(out, result)
    write_text(out.with_suffix(".md"), table(result))
    print(table(result))
    print(json.dumps({"recorded": str(out)}))
    if result["agreement"] and result["agreement"]["differences"]:
        raise SystemExit("The ways chose different positions; see «agreement» in the record.")


if __name__ == "__main__":
    main()
