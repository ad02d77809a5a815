"""Try every reader on damaged inputs: ``python -m tests.fuzz COUNT``."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.harness import Tally
from tests.fuzz.pool import fuzz
from tests.fuzz.prepared import prepare


def main() -> int:
    """Try, and print what came out.

    Returns:
        0 where nothing but a DeclutchError came out, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("count", type=int, nargs="?", default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", help="this one alone")
    parser.add_argument("--index", type=int, help="this input alone")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared"
        prepare(prepared)
        tallies = fuzz(
            prepared, asked.count, asked.seed, asked.reader, asked.index, asked.processes
        )
    for name, tally in tallies.items():
        _print(name, tally, asked.seed)
    total = sum(tally.inputs for tally in tallies.values())
    failed = sum(len(tally.failures) for tally in tallies.values())
    print(
        f"{total:,} inputs into {len(tallies)} readers in {time.monotonic() - started:,.0f} s, "
        f"seed {asked.seed}: {failed or 'no'} kind{'s' * (failed != 1)} of failure"
    )
    return int(failed > 0)


def _print(name: str, tally: Tally, seed: int) -> None:
    errors = sum(1 for kind in tally.outcomes if kind != "read")
    print(
        f"{name:<16}{tally.inputs:>8,} inputs {tally.outcomes['read']:>8,} read "
        f"{tally.inputs - tally.outcomes['read'] - sum(n for n, *_ in tally.failures.values()):>8,}"
        f" refused in {errors:>3} ways {len(tally.failures):>3} kinds of failure"
    )
    for kind, (number, first, text) in sorted(tally.failures.items()):
        print(f"  {number} x {kind}")
        print(f"    python -m tests.fuzz --seed {seed} --reader {name} --index {first}")
        print("".join(f"    | {line}\n" for line in text.splitlines()[-14:]), end="")


if __name__ == "__main__":
    sys.exit(main())
