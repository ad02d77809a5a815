"""Several processes, one job: examples are shared out, sums are added up on the first process.

A thin layer over ``torch.distributed``. ``torchrun`` starts the processes and names them in the
environment; a process that was started alone never touches any of it. Small numbers and facts go
over gloo, sums over NCCL where every process has a GPU of its own, else over gloo too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from declutch.errors import DeclutchError, SettingsError

log = logging.getLogger("declutch")

T = TypeVar("T")
# A process that dies closes its connections and is noticed at once. This is for one that hangs.
_TIMEOUT = timedelta(minutes=30)
_CHUNK = 1 << 22  # entries that are added up at a time: what gloo copies stays small


@dataclass
class Team:
    """The processes of one job, seen from one of them; the default is a process alone.

    Attributes:
        rank: which one this is, from 0.
        size: how many there are.
        local_size: how many of them are on this machine.
        device: the GPU of this process, if it has one.
        direct: sums can be added up without going through CPU memory.
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1
    device: torch.device | None = None
    direct: bool = False

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def share(self, lengths: Sequence[int]) -> list[int]:
        """Positions of this process's examples, longest first: about as many tokens as others'."""
        loads = [0] * self.size
        mine = []
        for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
            rank = loads.index(min(loads))
            loads[rank] += lengths[index]
            if rank == self.rank:
                mine.append(index)
        return mine

    def total(self, *numbers: int) -> list[int]:
        """The sum of each number over all processes.

        Raises:
            DeclutchError: another process has ended.
        """
        if self.size == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.int64)
        with self._watched():
            dist.all_reduce(sums)
        return [int(number) for number in sums]

    def gather(self, value: T) -> list[T]:
        """The value of each process, in order of rank, on all of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self._watched():
            dist.all_gather_object(values, value)
        return values

    def on_main(self, function: Callable[[], T]) -> T:
        """Call a function on the first process; all get what it returns, or the error it raises."""
        if self.size == 1:
            return function()
        outcome: list[Any] = [None, None]
        if self.main:
            try:
                outcome[0] = function()
            except DeclutchError as error:
                outcome[1] = error
        with self._watched():
            dist.broadcast_object_list(outcome, src=0)
        if outcome[1] is not None:
            raise outcome[1]
        result: T = outcome[0]
        return result

    def reduce(self, tensor: Tensor) -> None:
        """Add a contiguous tensor up on the first process, in place; zero it on the others."""
        if self.size == 1:
            return
        for part in tensor.view(-1).split(_CHUNK):
            staged = part if self.direct or part.device.type == "cpu" else part.cpu()
            with self._watched():
                dist.reduce(staged, dst=0)
            if not self.main:
                part.zero_()
            elif staged is not part:
                part.copy_(staged)

    def look_at(self, model: nn.Module) -> None:
        """See how sums can travel: every process must decide alike.

        Raises:
            SettingsError: two processes hold their models on one GPU.
        """
        used = sorted({p.device for p in model.parameters() if p.device.type == "cuda"}, key=str)
        _refuse_shared(self.gather([_gpu(device) for device in used]))
        own = all(parameter.device == self.device for parameter in model.parameters())
        self.direct = self.device is not None and self.total(int(own)) == [self.size]

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # torch's own distributed errors are RuntimeErrors
            reason = str(error).strip().split("\n")[0]
            raise DeclutchError(_lost(self, reason)) from error


_current: Team | None = None


@contextlib.contextmanager
def session() -> Iterator[Team]:
    """Join the other processes of this job inside a ``with`` block; alone, do nothing.

    A block inside another one gets the same team.

    Raises:
        SettingsError: ``WORLD_SIZE`` is set and the rest of what ``torchrun`` sets is not.
        DeclutchError: not all processes came.
    """
    global _current
    size = _number("WORLD_SIZE", 1)
    if _current is not None or size == 1:
        yield _current or Team()
        return
    if missing := {"RANK", "MASTER_ADDR", "MASTER_PORT"} - set(os.environ):
        raise SettingsError(
            f"WORLD_SIZE is {size}, and {', '.join(sorted(missing))} is not set. Start several "
            "processes with: torchrun --nproc-per-node N -m declutch score ...; or unset "
            "WORLD_SIZE to run one."
        )
    team = Team(
        rank=_number("RANK", 0),
        size=size,
        local_size=_number("LOCAL_WORLD_SIZE", 1),
        device=_own_device(),
    )
    started = not dist.is_initialized()
    level = log.level
    if not team.main:
        log.setLevel(logging.ERROR)  # one process speaks for all
    try:
        with _told_to_end(team):
            if started:
                _begin(team)
            _current = team
            yield team
            if started:
                dist.destroy_process_group()
    finally:
        _current = None
        log.setLevel(level)


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdecimal() or (variable.endswith("SIZE") and int(text) < 1):
        raise SettingsError(
            f"{variable} is «{text}», which is no number of processes that torchrun sets. Unset it "
            "to run one process."
        )
    return int(text)


def _begin(team: Team) -> None:
    backend = "cpu:gloo,cuda:nccl" if team.device is not None else "gloo"
    if team.device is not None:
        torch.cuda.set_device(team.device)
    try:
        dist.init_process_group(backend, timeout=_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise DeclutchError(
            f"Process {team.rank} of {team.size} could not join the others "
            f"({str(error).strip().splitlines()[0]}). Check that all {team.size} were started, "
            "and that they reach MASTER_ADDR:MASTER_PORT."
        ) from error
    team.total(0)  # the first exchange: whoever is not there is missed here
    log.info("%d processes share the examples", team.size)


def _gpu(device: torch.device) -> str:
    """A name of a GPU that every process gives it, whatever it may see of the others."""
    return f"{socket.gethostname()} {torch.cuda.get_device_properties(device).uuid}"


def _refuse_shared(gpus: Sequence[Sequence[str]]) -> None:
    """``gpus`` has for each process the GPUs that hold its model."""
    holders: dict[str, list[int]] = {}
    for rank, names in enumerate(gpus):
        for name in names:
            holders.setdefault(name, []).append(rank)
    shared = next((ranks for ranks in holders.values() if len(ranks) > 1), None)
    if shared:
        ranks = " and ".join(map(str, shared))
        raise SettingsError(
            f"Processes {ranks} hold their models on one GPU, where they wait for each other and "
            "share its memory. Start as many processes as there are GPUs (torchrun "
            "--nproc-per-node), without --device cuda and --device-map; or one process."
        )


def _own_device() -> torch.device | None:
    count = torch.cuda.device_count()
    if not count:
        return None
    return torch.device("cuda", _number("LOCAL_RANK", 0) % count)


@contextlib.contextmanager
def _told_to_end(team: Team) -> Iterator[None]:
    """``torchrun`` ends the other processes by SIGTERM when one dies: say why this one ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise DeclutchError(_lost(team, "SIGTERM"))

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _lost(team: Team, reason: str) -> str:
    return (
        f"Another of the {team.size} processes ended or answers no more; process {team.rank} "
        f"stops too ({reason}). What the other one said, if anything, is above. Dimensions that "
        "were finished are on disk, and the same command goes on from there."
    )
