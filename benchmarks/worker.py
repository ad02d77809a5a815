"""One way, once, in a process of its own: ``python -m benchmarks.worker WAY SPEC.json FOLDER``.

Leaves ``outcome.json`` and, where something was scored, ``shortlists.safetensors`` in FOLDER.
"""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.setup import Bench, Spec, prepare
from benchmarks.ways import WAYS, Outcome
from declutch.files import write_json


def warm_up(bench: Bench, way: str) -> None:
    """Let lazy initialisation happen before the clock starts; on a GPU, compiling and tuning."""
    if bench.spec.device.startswith("cuda"):
        examples = bench.examples
    else:
        examples = tuple(sorted(bench.examples, key=len)[:2])
    WAYS[way](replace(bench, examples=examples, spec=replace(bench.spec, layers=1)))


class Peak:
    """Most memory in use from here on: the GPU's allocator, or the process's resident set."""

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        if self._cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        else:
            self._exact = _reset_high_water_mark()

    def read(self) -> int:
        """Bytes. Where the mark can't be reset it covers loading the model too."""
        if self._cuda:
            return int(torch.cuda.max_memory_allocated())
        if self._exact:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _reset_high_water_mark() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def save_shortlists(outcome: Outcome, path: Path) -> None:
    """Indices and scores by matrix."""
    tensors = {}
    for name, one in outcome.shortlists.items():
        tensors[f"{name}/indices"] = one.indices
        tensors[f"{name}/scores"] = one.scores
        tensors[f"{name}/weights"] = one.weights
    save_file(tensors, path)


def main(way: str, spec: Spec, folder: Path) -> None:
    """Run a way and write what it did."""
    bench = prepare(spec)
    warm_up(bench, way)
    peak = Peak(spec.device)
    outcome = WAYS[way](bench)
    peak_bytes = peak.read()
    if outcome.shortlists:
        save_shortlists(outcome, folder / "shortlists.safetensors")
    write_json(
        folder / "outcome.json",
        {
            "seconds": outcome.seconds,
            "layers": outcome.layers,
            "blocks": bench.blocks,
            "peak_bytes": peak_bytes,
            "weights_bytes": bench.weights,
            "accumulator_bytes": bench.accumulators,
            "matrices": {matrix.name: matrix.numel for matrix in bench.matrices},
            "examples": len(bench.examples),
            "tokens": bench.tokens,
            "counted_tokens": sum(example.counted for example in bench.examples),
            "threads": torch.get_num_threads(),
            "device": _device_name(spec.device),
            "dtype": str(bench.model.dtype).removeprefix("torch."),
        },
    )


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"


if __name__ == "__main__":
    main(sys.argv[1], Spec(**json.loads(Path(sys.argv[2]).read_text())), Path(sys.argv[3]))
