"""``OUT/partial``: what is known of a dimension that is not finished, and the plan it follows.

Sums are written beside the last ones, then the JSON that names them, then the last ones go: a
process that is killed at any moment leaves a whole set. One file a matrix, so that writing never
holds a second copy of more than one.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from declutch.errors import FileFormatError
from declutch.files import atomic_path, require_file, write_json
from declutch.records import Record, read_record
from declutch.scoring.shortlists import Shortlist, differences

log = logging.getLogger("declutch")

FORMAT_VERSION = 1


class PartialInfo(Record):
    """``partial.json``: which part of which job the sums beside it are."""

    format_version: int = FORMAT_VERSION
    key: dict[str, Any]
    group: int
    done: tuple[int, ...]
    batch_tokens: int
    sums: str | None


class PlanInfo(Record):
    """``plan.json``: how the job was cut up, whatever memory is free on the next start."""

    format_version: int = FORMAT_VERSION
    key: dict[str, Any]
    plan: dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """How far a dimension has come.

    Attributes:
        group: groups before this one are finished.
        done: examples whose sums of this group are known, as positions.
        batch_tokens: padded tokens in a batch; less than planned after memory ran out.
        shortlists: of the finished groups.
    """

    group: int = 0
    done: tuple[int, ...] = ()
    batch_tokens: int = 0
    shortlists: Mapping[str, Shortlist] = field(default_factory=dict)


class Partial:
    """Reads and writes a dimension's progress.

    Args:
        folder: ``OUT/partial``, or None: nothing is kept.
        key: everything that the sums depend on. Sums with another key are not used.
        interval: seconds between two times of writing.
    """

    def __init__(self, folder: Path | None, key: dict[str, Any], interval: float) -> None:
        self.folder = folder
        self.key = key
        self.interval = interval
        self._sums: str | None = None
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to write."""
        return self.folder is not None and time.monotonic() - self._last >= self.interval

    def load(self) -> Progress | None:
        """The progress on disk, if it is of this job."""
        if self.folder is None or not (self.folder / "partial.json").exists():
            return None
        info = read_record(self.folder / "partial.json", PartialInfo, FORMAT_VERSION)
        if changed := list(differences(info.key, self.key)):
            log.info("Partial sums in %s are of another job: %s", self.folder, "; ".join(changed))
            self.remove()
            return None
        self._sums = info.sums
        return Progress(info.group, info.done, info.batch_tokens, self._load_shortlists())

    def load_sums(self, states: Mapping[str, Tensor]) -> None:
        """Fill a group's sums from disk."""
        assert self.folder is not None
        assert self._sums is not None
        for number, (name, state) in enumerate(states.items()):
            tensors = _read(self.folder / self._sums / f"{number}.safetensors")
            if set(tensors) != {name} or tensors[name].shape != state.shape:
                raise _damaged(self.folder, f"the sums of {name} are missing")
            state.copy_(tensors[name])

    def save(self, progress: Progress, states: Mapping[str, Tensor]) -> None:
        """Write progress; ``states`` are the sums of the group at hand, if any example is done."""
        if self.folder is None:
            return
        self._sums = None
        if progress.done:
            self._sums = f"sums-{progress.group}-{len(progress.done)}"
            with atomic_path(self.folder / self._sums) as temporary:
                temporary.mkdir(parents=True)
                for number, (name, state) in enumerate(states.items()):
                    save_file({name: state.cpu()}, temporary / f"{number}.safetensors")
        else:
            tensors = {
                f"{matrix}/{part}": getattr(shortlist, part)
                for matrix, shortlist in progress.shortlists.items()
                for part in ("indices", "scores", "weights")
            }
            with atomic_path(self.folder / f"shortlists-{progress.group}.safetensors") as path:
                save_file(tensors, path)
        info = PartialInfo(
            key=self.key,
            group=progress.group,
            done=progress.done,
            batch_tokens=progress.batch_tokens,
            sums=self._sums,
        )
        write_json(self.folder / "partial.json", info.model_dump(mode="json"))
        for path in (*self.folder.glob("sums-*"), *self.folder.glob(".sums-*")):
            if path.name != self._sums:
                shutil.rmtree(path)
        self._last = time.monotonic()

    def remove(self) -> None:
        """Take away what is on disk, the plan excepted."""
        if self.folder is None or not self.folder.exists():
            return
        # Without the JSON nothing else counts, so it goes first.
        (self.folder / "partial.json").unlink(missing_ok=True)
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "plan.json":
                path.unlink()
        self._sums = None

    def _load_shortlists(self) -> dict[str, Shortlist]:
        assert self.folder is not None
        found: dict[str, dict[str, Tensor]] = {}
        for path in self.folder.glob("shortlists-*.safetensors"):
            for key, tensor in _read(path).items():
                matrix, _, part = key.rpartition("/")
                found.setdefault(matrix, {})[part] = tensor
        return {matrix: Shortlist(**parts) for matrix, parts in found.items()}


def _read(path: Path) -> dict[str, Tensor]:
    try:
        require_file(path)
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, FileFormatError) as error:
        raise _damaged(path.parent, str(error)) from error
    return tensors


def _damaged(folder: Path, reason: str) -> FileFormatError:
    return FileFormatError(
        f"The partial sums in {folder} are damaged ({reason}). Remove that folder; finished "
        "dimensions beside it stay."
    )


def read_plan(folder: Path | None, key: dict[str, Any]) -> dict[str, Any] | None:
    """The plan that an earlier start of the same job made."""
    if folder is None or not (folder / "plan.json").exists():
        return None
    info = read_record(folder / "plan.json", PlanInfo, FORMAT_VERSION)
    return None if list(differences(info.key, key)) else info.plan


def write_plan(folder: Path | None, key: dict[str, Any], plan: dict[str, Any]) -> None:
    """Keep a plan for the next start."""
    if folder is not None:
        info = PlanInfo(key=key, plan=plan)
        write_json(folder / "plan.json", info.model_dump(mode="json"))
