"""Peak memory of scoring against its plan, at limits below the sums' size.

    python -m benchmarks.memory

Random weights in Llama's shape, sized so that the sums take far more than the activations. Each
limit runs in a process of its own. On a CPU the peak is the growth of the resident set, sampled
every millisecond; on a GPU it is what the allocator counted.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from hashlib import sha256

import psutil
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from declutch.data.encoding import EncodedExample
from declutch.models.matrices import find_matrices
from declutch.scoring.dimension import Job, score_dimension
from declutch.scoring.distributed import Team
from declutch.scoring.memory import (
    format_size,
    hold_no_freed_memory,
    make_plan,
    state_bytes,
)
from declutch.scoring.methods.importance import Importance
from declutch.scoring.partial import Partial
from declutch.scoring.shortlists import Shortlist

SHARES = (None, 1 / 2, 1 / 4, 1 / 8)  # of the sums' size; None: no limit


@dataclass(frozen=True)
class Row:
    """One run. Sizes in bytes; ``digest`` is of all shortlists' positions."""

    sums: int
    limit: int | None
    planned: int
    peak: int
    passes: int
    seconds: float
    digest: str


def build(layers: int, hidden: int, device: str) -> nn.Module:
    """A model whose weights are all random."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=2,
    )
    model: nn.Module = LlamaForCausalLM(config).eval().to(device)
    return model


def make_examples(count: int, length: int) -> list[EncodedExample]:
    """Random tokens, the second half of them counted, of a few lengths."""
    generator = torch.Generator().manual_seed(0)
    examples = []
    for number in range(count):
        tokens = length - number % 4
        ids = torch.randint(0, 512, (tokens,), generator=generator).tolist()
        half = tokens // 2
        examples.append(EncodedExample(tuple(ids), (False,) * half + (True,) * (tokens - half)))
    return examples


class Peak:
    """The most that memory grows inside a ``with`` block, in bytes."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.bytes = 0

    def __enter__(self) -> Peak:
        if self.device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
            return self
        give_back_heap()
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device == "cuda":
            self.bytes = torch.cuda.max_memory_allocated() - self._before
            return
        self._end.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._end.wait(0.001):
            self.bytes = max(self.bytes, self._process.memory_info().rss - self._before)


def give_back_heap() -> None:
    """Free memory that the C library still holds would hide growth."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def digest(shortlists: dict[str, Shortlist]) -> str:
    """Of the positions, in order of matrix and position."""
    positions = {name: sorted(one.indices.tolist()) for name, one in sorted(shortlists.items())}
    return sha256(json.dumps(positions).encode()).hexdigest()[:16]


def measure(
    share: float | None,
    *,
    layers: int = 12,
    hidden: int = 512,
    examples: int = 4,
    length: int = 8,
    device: str = "cpu",
) -> Row:
    """Plan and run one dimension, and see how much memory it took."""
    model = build(layers, hidden, device)
    matrices = find_matrices(model, "mlp").matrices
    method, data = Importance(), make_examples(examples, length)
    sums = sum(state_bytes(method, matrix) for matrix in matrices)
    limit = int(sums * share) if share else None
    if limit:
        hold_no_freed_memory()
    # What libraries set up on first use is no part of a run's memory.
    make_plan(model, method, matrices[:1], data)
    started = time.monotonic()
    with Peak(device) as peak:
        plan = make_plan(model, method, matrices, data, limit)
        job = Job("one", model, method, plan, data, [1] * len(data), len(data), 1e-3)
        shortlists = score_dimension(job, Team(), Partial(None, {}, 0))
    return Row(
        sums=sums,
        limit=limit,
        planned=plan.peak,
        peak=peak.bytes,
        passes=len(plan.groups),
        seconds=time.monotonic() - started,
        digest=digest(shortlists),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--examples", type=int, default=4)
    parser.add_argument("--length", type=int, default=8)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--share", type=float, help="run one limit and print JSON")
    options = vars(parser.parse_args())
    share = options.pop("share")
    if share is not None:
        print(json.dumps(asdict(measure(share or None, **options))))
        return
    flags = [f"--{name}={value}" for name, value in options.items()]
    print("| limit | planned | peak | passes | seconds | same shortlists |")
    print("| --- | --- | --- | --- | --- | --- |")
    first = None
    for one in SHARES:
        command = [sys.executable, "-m", "benchmarks.memory", *flags, f"--share={one or 0}"]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        row = Row(**json.loads(output.splitlines()[-1]))
        first = first or row
        limit = format_size(row.limit) if row.limit else f"none (sums {format_size(row.sums)})"
        same = "yes" if row.digest == first.digest else "NO"
        print(
            f"| {limit} | {format_size(row.planned)} | {format_size(row.peak)} | {row.passes} | "
            f"{row.seconds:.1f} | {same} |"
        )


if __name__ == "__main__":
    main()
