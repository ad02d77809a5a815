"""What was measured, kept in an evaluation's folder part by part, so that a stopped one goes on.

``NAME.jsonl`` holds the items of a measure; ``measured.json`` says which parts are whole, what they
depend on, and the facts that belong to them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from declutch.errors import DataError, SettingsError
from declutch.files import append_jsonl, write_json, write_jsonl
from declutch.items import Item, read_items
from declutch.measures.base import Measure, Part
from declutch.progress import log
from declutch.records import Record, differing, read_record

FORMAT_VERSION = 1
RECORD_FILE = "measured.json"

Facts = dict[str, dict[str, dict[str, Any]]]


class PartRecord(Record):
    """One part that is whole."""

    depends: dict[str, Any]
    items: int
    facts: dict[str, Any]


class MeasuredRecord(Record):
    """``measured.json``."""

    format_version: int = FORMAT_VERSION
    run: dict[str, Any]
    parts: dict[str, dict[str, PartRecord]] = Field(default_factory=dict)

    @property
    def facts(self) -> Facts:
        """By measure and part, what was kept beside the items."""
        return {
            name: {part: one.facts for part, one in parts.items()}
            for name, parts in self.parts.items()
        }


class Ledger:
    """Items by measure, on disk part by part, or in memory alone for ``directory=None``.

    Attributes:
        items: by measure those of the parts that were asked for, in their order.

    Args:
        run: all that items depend on beside their part: the model, the patch. JSON values.

    Raises:
        SettingsError: the folder holds what was measured in another run; the message says what
            differs.
        FileFormatError: a file there is damaged.
    """

    def __init__(self, directory: Path | None, run: Mapping[str, Any]) -> None:
        self._directory = directory
        self._record = MeasuredRecord(run=dict(run))
        self._rows: dict[str, list[Item]] = {}
        self.items: dict[str, list[Item]] = {}
        if directory is not None and (directory / RECORD_FILE).exists():
            self._record = read_measured(directory)
            if differences := differing(self._record.run, run):
                raise SettingsError(
                    f"{directory} already holds an evaluation with other settings: "
                    f"{'; '.join(differences)}. Choose another folder with -o."
                )

    @property
    def facts(self) -> Facts:
        """By measure and part, what was kept beside the items."""
        return self._record.facts

    def measure(self, measure: Measure[Any], parts: Sequence[Part]) -> None:
        """Measure what is not there yet.

        Raises:
            SettingsError: a part is there that depends on something else.
            DataError: a part has no items.
        """
        name = measure.facts.name
        self._rows[name] = self._kept(measure)
        for part in parts:
            if self._has(name, part):
                log.info("%s: %s is measured already.", measure.facts.title, part.name)
                continue
            start = time.monotonic()
            items, facts = part.run()
            if not items:
                raise DataError(f"{measure.facts.title}: {part.name} has no items to measure.")
            self._add(name, part, items, {**facts, "seconds": round(time.monotonic() - start, 1)})
        # The folder may hold other parts too, which were asked for another time.
        self.items[name] = [
            item for part in parts for item in self._rows[name] if item.set == part.name
        ]

    def _kept(self, measure: Measure[Any]) -> list[Item]:
        """Items of parts that are whole; what an interrupted write left is dropped."""
        if self._directory is None or measure.item is None:
            return []
        path = self._directory / f"{measure.facts.name}.jsonl"
        whole = self._record.parts.get(measure.facts.name, {})
        if not whole:
            path.unlink(missing_ok=True)
        if not path.exists():
            return []
        found: list[Item] = read_items(path, measure.item, drop_torn_tail=True)
        kept = [item for item in found if item.set in whole]
        # Written again, since half a line may be left too.
        write_jsonl(path, [item.model_dump(mode="json") for item in kept])
        return kept

    def _has(self, name: str, part: Part) -> bool:
        record = self._record.parts.get(name, {}).get(part.name)
        if record is None:
            return False
        if differences := differing(record.depends, part.depends):
            raise SettingsError(
                f"{self._directory} already holds the {name} of {part.name} with other settings: "
                f"{'; '.join(differences)}. Choose another folder with -o, or delete "
                f"{RECORD_FILE} there to measure again."
            )
        return sum(item.set == part.name for item in self._rows[name]) == record.items

    def _add(self, name: str, part: Part, items: Sequence[Item], facts: Mapping[str, Any]) -> None:
        others = [item for item in self._rows[name] if item.set != part.name]
        rewritten = len(others) < len(self._rows[name])
        self._rows[name] = [*others, *items]
        done = PartRecord(depends=dict(part.depends), items=len(items), facts=dict(facts))
        parts = {**self._record.parts.get(name, {}), part.name: done}
        update = {"parts": {**self._record.parts, name: parts}}
        self._record = self._record.model_copy(update=update)
        if self._directory is None:
            return
        path = self._directory / f"{name}.jsonl"
        anew = rewritten or not path.exists()
        rows = [item.model_dump(mode="json") for item in (self._rows[name] if anew else items)]
        (write_jsonl if anew else append_jsonl)(path, rows)
        write_json(self._directory / RECORD_FILE, self._record.model_dump(mode="json"))


def read_measured(directory: Path) -> MeasuredRecord:
    """Read ``measured.json`` from a folder; an empty record where there is none.

    Raises:
        FileFormatError: it is damaged, or of another version.
    """
    path = directory / RECORD_FILE
    if not path.exists():
        return MeasuredRecord(run={})
    return read_record(path, MeasuredRecord, FORMAT_VERSION)
