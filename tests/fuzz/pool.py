"""Inputs shared out among processes."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import resource
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")

from tests.fuzz.harness import Reader, Tally, try_reader
from tests.fuzz.readers import all_readers

_MEMORY = 32 << 30  # of addresses: torch alone takes several GiB
_CHUNK = 250  # inputs that a process tries before it takes others


def fuzz(
    prepared: Path, count: int, seed: int, only: str | None, index: int | None, processes: int
) -> dict[str, Tally]:
    """What came out of each reader."""
    readers = [each for each in all_readers(prepared) if only in (None, each.name)]
    if not readers:
        raise SystemExit(f"There is no reader {only}.")
    whole = sum(reader.share for reader in readers)
    jobs = []
    for reader in readers:
        wanted = max(1, round(count * reader.share / whole))
        numbers = range(wanted) if index is None else range(index, index + 1)
        jobs += [
            (prepared, reader.name, seed, numbers[start : start + _CHUNK])
            for start in range(0, len(numbers), _CHUNK)
        ]
    tallies = {reader.name: Tally() for reader in readers}
    # A process that crashes breaks the pool, and the error says so.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _quiet) as pool:
        for name, tally in pool.map(_job, jobs):
            tallies[name].add(tally)
    return tallies


def _quiet() -> None:
    """Nothing printed by what is tried; an input that asks for too much memory gets an error."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


_known: dict[str, Reader] = {}


def _job(job: tuple[Path, str, int, range]) -> tuple[str, Tally]:
    prepared, name, seed, numbers = job
    with (
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        if not _known:
            _known.update({reader.name: reader for reader in all_readers(prepared)})
        return name, try_reader(_known[name], Path(folder), seed, numbers)
