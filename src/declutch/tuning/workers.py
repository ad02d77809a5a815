"""Other processes that take part in a search: the same candidates, sooner.

Each is ``python -m declutch.tuning.workers``, which gets its task on stdin and ends when that is
closed: when the search is over, or when the process that asked for it has ended, however it did.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from declutch.progress import log
from declutch.settings import ModelSettings, RunSettings
from declutch.stages import SCORES

# A worker that was told that all is over.
_TOLD = 0


@dataclass(frozen=True)
class Task:
    """What a worker is told: which search, and its share of the processor."""

    settings: RunSettings
    out: Path
    round: int
    threads: int


@contextlib.contextmanager
def workers(settings: RunSettings, out: Path, number: int) -> Iterator[None]:
    """Inside the ``with`` block, all but one of the processes that the settings ask for.

    Where several GPUs are seen, the model stands on another one in each.
    """
    count = settings.tune.processes
    before = torch.get_num_threads()
    threads = max(1, before // count)
    torch.set_num_threads(threads)
    # Data are not needed for what is scored already, and rows in memory may be large.
    couple, exclude = dict.fromkeys(settings.couple, ""), dict.fromkeys(settings.exclude, "")
    started: list[subprocess.Popen[bytes]] = []
    try:
        for place in range(1, count):
            load = _placed(settings.load, place)
            own = replace(settings, couple=couple, exclude=exclude, load=load)
            process = subprocess.Popen(
                [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
            )
            started.append(process)
            assert process.stdin
            process.stdin.write(pickle.dumps(Task(own, out, number, threads)))
            process.stdin.flush()
        yield
    finally:
        torch.set_num_threads(before)
        for process in started:
            with contextlib.suppress(OSError):
                process.stdin.close()  # type: ignore[union-attr]
            if process.wait() != _TOLD:
                log.warning("A process of the search ended early: the others did its work.")


def _placed(load: ModelSettings, place: int) -> ModelSettings:
    gpus = torch.cuda.device_count()
    if gpus < 2 or load.device or load.device_map:
        return load
    return replace(load, device=f"cuda:{place % gpus}")


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(_TOLD)


def main() -> None:
    """Do what stdin says until it is closed."""
    from declutch.evaluating.plan import make_plan
    from declutch.models.loading import load_model
    from declutch.progress import quiet
    from declutch.scoring.shortlists import Scores
    from declutch.tuning.tune import Tuning

    task: Task = pickle.load(sys.stdin.buffer)
    ended = threading.Thread(target=_end_with_stdin, daemon=True)
    ended.start()
    torch.set_num_threads(task.threads)
    settings = task.settings
    with quiet():
        loaded = load_model(settings.model, settings.load)
        scores = Scores.load(task.out / SCORES.name)
        tuning = Tuning(settings, make_plan(settings.evaluate), loaded, scores, task.out)
        tuning.take_part(task.round)
    ended.join()


if __name__ == "__main__":
    main()
