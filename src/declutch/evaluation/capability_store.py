"""The outcomes of capability tasks, on disk as they come, so that an interrupted run goes on.

``capability.jsonl`` holds every item's outcome; ``capability.json`` says which tasks are finished,
with what settings, and what the outcomes depend on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from declutch.errors import FileFormatError, SettingsError
from declutch.evaluation.capability_tasks import CapabilityTask
from declutch.evaluation.rows import finite, number, refuse_doubled
from declutch.evaluation.store import differing
from declutch.files import append_jsonl, read_json, read_jsonl, write_json, write_jsonl

FORMAT_VERSION = 1
ROWS_FILE = "capability.jsonl"
RECORD_FILE = "capability.json"

Outcome = bool | float | tuple[float, int] | None


@dataclass(frozen=True, slots=True)
class CapabilityRow:
    """The outcome of one item: right or wrong, a number, or the NLL of a text.

    Attributes:
        id: unique within the task; holds a hash of the item, so that only like is paired.
    """

    task: str
    id: str
    correct: bool | None = None
    value: float | None = None
    nll: float | None = None
    tokens: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The row as it stands in the file, without what it does not have."""
        fields = {name: getattr(self, name) for name in ("correct", "value", "nll", "tokens")}
        return {
            "task": self.task,
            "id": self.id,
            **{
                name: finite(value) if isinstance(value, float) else value
                for name, value in fields.items()
                if value is not None
            },
        }

    @property
    def outcome(self) -> Outcome:
        """Whichever of the three it has; NLL and tokens together."""
        if self.nll is not None:
            return self.nll, self.tokens or 0
        return self.correct if self.correct is not None else self.value


class CapabilityStore:
    """Outcomes by task, on disk task by task, or in memory alone for ``directory=None``.

    Args:
        run: all that the outcomes depend on beside the task. JSON values only.

    Raises:
        SettingsError: the folder holds outcomes of another run; the message says what differs.
        FileFormatError: a file there is damaged.
    """

    def __init__(self, directory: Path | None, run: Mapping[str, Any]) -> None:
        self._directory = directory
        self._run = dict(run)
        self._tasks: dict[str, dict[str, Any]] = {}
        self._rows: dict[str, list[CapabilityRow]] = {}
        if directory is not None and (directory / RECORD_FILE).exists():
            self._open(directory)

    def _open(self, directory: Path) -> None:
        path = directory / RECORD_FILE
        value = read_json(path)
        if (
            not isinstance(value, dict)
            or value.get("format_version") != FORMAT_VERSION
            or not isinstance(value.get("tasks"), dict)
            or not isinstance(value.get("run"), dict)
        ):
            raise FileFormatError(
                f"{path} is not a capability record of version {FORMAT_VERSION}. Choose another "
                "folder with -o."
            )
        differences = differing(value["run"], self._run)
        if differences:
            raise SettingsError(
                f"{directory} already holds capability results of another run: "
                f"{'; '.join(differences)}. Choose another folder with -o."
            )
        self._tasks = value["tasks"]
        rows = read_capability(directory, drop_torn_tail=True)
        # Rows of a task that is not on record are what an interrupted write left.
        whole = [row for row in rows if row.task in self._tasks]
        for row in whole:
            self._rows.setdefault(row.task, []).append(row)
        write_jsonl(directory / ROWS_FILE, [row.as_json() for row in whole])

    def has(self, task: CapabilityTask) -> bool:
        """Whether the task is finished.

        Raises:
            SettingsError: it was measured with other settings.
        """
        if task.name not in self._tasks:
            return False
        differences = differing(self._tasks[task.name]["settings"], task.settings)
        if differences:
            raise SettingsError(
                f"{self._directory} already holds the capability task {task.name} with other "
                f"settings: {'; '.join(differences)}. Choose another folder with -o, or give the "
                "same settings to go on with it."
            )
        return bool(self._tasks[task.name]["items"] == len(self._rows.get(task.name, [])))

    def add(
        self, task: CapabilityTask, rows: list[CapabilityRow], facts: Mapping[str, Any]
    ) -> None:
        """Keep a task's outcomes, on disk at once."""
        again = task.name in self._rows
        self._rows[task.name] = rows
        self._tasks[task.name] = {
            "settings": dict(task.settings), "items": len(rows), **facts
        }  # fmt: skip
        if self._directory is None:
            return
        path = self._directory / ROWS_FILE
        if again or len(self._rows) == 1:
            write_jsonl(path, [row.as_json() for own in self._rows.values() for row in own])
        else:
            append_jsonl(path, [row.as_json() for row in rows])
        write_json(
            self._directory / RECORD_FILE,
            {"format_version": FORMAT_VERSION, "run": self._run, "tasks": self._tasks},
        )

    def rows(self, task: str) -> list[CapabilityRow]:
        """The outcomes of one task."""
        return self._rows[task]

    def note(self, task: str) -> str:
        """What a metric of this task says of how it was made."""
        return str(self._tasks[task].get("note", ""))

    def better(self, task: str) -> Literal["higher", "lower"]:
        """Which way its outcomes get better."""
        return "lower" if self._tasks[task].get("better") == "lower" else "higher"


def read_capability(directory: Path, *, drop_torn_tail: bool = False) -> list[CapabilityRow]:
    """Read ``capability.jsonl`` from a folder.

    Raises:
        FileFormatError: it is missing or damaged.
    """
    path = Path(directory) / ROWS_FILE
    rows = []
    for place, value in enumerate(read_jsonl(path, drop_torn_tail=drop_torn_tail), start=1):
        try:
            numbers = {key: number(value[key]) for key in ("value", "nll") if key in value}
            row = CapabilityRow(**{**value, **numbers})
        except (TypeError, ValueError) as error:
            raise FileFormatError(
                f"{path}, row {place}: not an outcome as declutch writes it ({error})."
            ) from error
        rows.append(row)
    refuse_doubled(path, [(row.task, row.id) for row in rows])
    return rows


def capability_values(directory: Path, task: str) -> dict[str, Outcome]:
    """Each item's outcome by its id, for a comparison item by item."""
    return {row.id: row.outcome for row in read_capability(directory) if row.task == task}
