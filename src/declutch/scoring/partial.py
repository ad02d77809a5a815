"""``OUT/partial``: what is known of a dimension that is not finished, and the plan it follows.

Sums are written beside the last ones, then the JSON that names them, then the last ones go: a
process that is killed at any moment leaves a whole set. One file a matrix, so that writing never
holds a second copy of more than one.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from declutch.errors import FileFormatError
from declutch.files import (
    atomic_path,
    changed_files,
    hash_files,
    require_file,
    sha256_file,
    sha256_json,
    write_json,
)
from declutch.progress import log
from declutch.records import Record, differences, read_record
from declutch.scoring.shortlists import Shortlist

FORMAT_VERSION = 3  # 2: hashes of the files; 3: sums by row and column
PLAN_VERSION = 2  # 2: a hash


class PartialInfo(Record):
    """``partial.json``: which part of which job the sums beside it are, and their SHA-256."""

    format_version: int = FORMAT_VERSION
    key: dict[str, Any]
    group: int
    done: tuple[int, ...]
    batch_tokens: int
    sums: str | None
    files: dict[str, str]


class PlanInfo(Record):
    """``plan.json``: how the job was cut up, whatever memory is free on the next start."""

    format_version: int = PLAN_VERSION
    key: dict[str, Any]
    plan: dict[str, Any]
    sha256: str


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
        self._files: dict[str, str] = {}
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to write."""
        return self.folder is not None and time.monotonic() - self._last >= self.interval

    def load(self, groups: Sequence[Sequence[str]], examples: int) -> Progress | None:
        """The progress on disk, if it is of this job.

        Args:
            groups: names of the job's matrices, group by group.
            examples: how many the job has.

        Raises:
            FileFormatError: it is damaged, or no progress that this job can have made.
        """
        if self.folder is None or not (self.folder / "partial.json").exists():
            return None
        info = read_record(self.folder / "partial.json", PartialInfo, FORMAT_VERSION)
        if changed := list(differences(info.key, self.key)):
            log.info("Partial sums in %s are of another job: %s", self.folder, "; ".join(changed))
            self.remove()
            return None
        if changed := changed_files(self.folder, info.files):
            raise _damaged(self.folder, f"missing or changed: {', '.join(changed)}")
        possible = set(range(examples))
        if not 0 <= info.group < len(groups) or info.batch_tokens < 1:
            raise _damaged(self.folder, "it is of no group of this job")
        if len(set(info.done)) < len(info.done) or not set(info.done) < possible:
            raise _damaged(self.folder, "examples are named that can't be the ones done")
        if bool(info.done) != bool(info.sums):
            raise _damaged(self.folder, "sums and examples done don't go together")
        shortlists = self._load_shortlists(info.files)
        finished = {matrix for group in groups[: info.group] for matrix in group}
        if set(shortlists) != finished:
            raise _damaged(self.folder, "the shortlists are not those of the finished groups")
        self._sums, self._files = info.sums, info.files
        return Progress(info.group, info.done, info.batch_tokens, shortlists)

    def load_sums(self, states: Mapping[str, Tensor]) -> None:
        """Fill a group's sums from disk."""
        assert self.folder is not None
        assert self._sums is not None
        for number, (name, state) in enumerate(states.items()):
            tensors = _read(self.folder / self._sums / f"{number}.safetensors")
            if set(tensors) != {name} or tensors[name].shape != state.shape:
                raise _damaged(self.folder, f"the sums of {name} are missing")
            # NaN is handed on by both ends.
            if not all(bool(end.isfinite()) for end in tensors[name].aminmax()):
                raise _damaged(self.folder, f"the sums of {name} are not finite")
            state.copy_(tensors[name])

    def save(self, progress: Progress, states: Mapping[str, Tensor]) -> None:
        """Write progress; ``states`` are the sums of the group at hand, if any example is done."""
        if self.folder is None:
            return
        files = self._keep_shortlists(progress) if progress.group else {}
        self._sums = None
        if progress.done:
            self._sums = f"sums-{progress.group}-{len(progress.done)}"
            with atomic_path(self.folder / self._sums) as temporary:
                temporary.mkdir(parents=True)
                for number, (name, state) in enumerate(states.items()):
                    save_file({name: state.cpu()}, temporary / f"{number}.safetensors")
            hashes = hash_files(self.folder / self._sums)
            files |= {f"{self._sums}/{name}": value for name, value in hashes.items()}
        self._files = files
        info = PartialInfo(
            key=self.key,
            group=progress.group,
            done=progress.done,
            batch_tokens=progress.batch_tokens,
            sums=self._sums,
            files=files,
        )
        write_json(self.folder / "partial.json", info.model_dump(mode="json"))
        for path in (*self.folder.glob("sums-*"), *self.folder.glob(".sums-*")):
            if path.name != self._sums:
                shutil.rmtree(path)
        for path in self.folder.glob("shortlists-*"):
            if path.name not in files:
                path.unlink()
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
        self._sums, self._files = None, {}

    def _keep_shortlists(self, progress: Progress) -> dict[str, str]:
        """Write those of the finished groups, once a group; their file's name and hash."""
        assert self.folder is not None
        name = f"shortlists-{progress.group}.safetensors"
        if name not in self._files:
            tensors = {
                f"{matrix}/{part}": tensor
                for matrix, shortlist in progress.shortlists.items()
                for part, tensor in shortlist.parts.items()
            }
            with atomic_path(self.folder / name) as temporary:
                save_file(tensors, temporary)
        return {name: self._files.get(name) or sha256_file(self.folder / name)}

    def _load_shortlists(self, files: Iterable[str]) -> dict[str, Shortlist]:
        assert self.folder is not None
        found: dict[str, dict[str, Tensor]] = {}
        for name in files:
            if name.startswith("shortlists-"):
                for key, tensor in _read(self.folder / name).items():
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
    """The plan that an earlier start of the same job made.

    Raises:
        FileFormatError: it is damaged.
    """
    if folder is None or not (folder / "plan.json").exists():
        return None
    info = read_record(folder / "plan.json", PlanInfo, PLAN_VERSION)
    if info.sha256 != sha256_json([info.key, info.plan]):
        raise _damaged(folder, "plan.json was changed")
    return None if list(differences(info.key, key)) else info.plan


def write_plan(folder: Path | None, key: dict[str, Any], plan: dict[str, Any]) -> None:
    """Keep a plan for the next start."""
    if folder is not None:
        info = PlanInfo(key=key, plan=plan, sha256=sha256_json([key, plan]))
        write_json(folder / "plan.json", info.model_dump(mode="json"))
