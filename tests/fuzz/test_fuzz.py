"""A few damaged inputs for each reader; ``make fuzz`` tries many."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from declutch.errors import DataError
from tests.fuzz.harness import FolderReader, Tally, TextReader, try_reader
from tests.fuzz.mutations import damaged, damaged_value
from tests.fuzz.prepared import prepare
from tests.fuzz.readers import all_readers

_EACH = 6


@pytest.fixture(autouse=True)
def _offline_and_quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    log = logging.getLogger("declutch")
    before = logging.root.manager.disable, log.handlers, log.level, log.propagate
    logging.disable(logging.CRITICAL)
    yield
    # The commands that are tried set up messages as a process of their own would.
    logging.disable(before[0])
    log.handlers, log.level, log.propagate = before[1:]


def test_only_errors_of_declutch_come_out(tmp_path: Path) -> None:
    prepare(tmp_path / "prepared")
    tried = Tally()
    for reader in all_readers(tmp_path / "prepared"):
        tally = try_reader(reader, tmp_path / "work", 1, range(_EACH))
        assert not tally.failures, (reader.name, tally.failures)
        tried.add(tally)
    assert tried.inputs > 150
    assert 0 < tried.outcomes["read"] < tried.inputs


def test_a_failure_is_found_and_can_be_had_again(tmp_path: Path) -> None:
    def read(text: str, _: Path) -> None:
        if "x" in text:
            raise DataError("an x")
        if len(text) % 2:
            raise KeyError(text)

    reader = TextReader("odd", 1, lambda _: ("abcx", "abc"), read)
    tally = try_reader(reader, tmp_path / "all", 0, range(60))
    assert tally.inputs == 60
    assert tally.outcomes["DataError: an x"] > 0
    ((kind, (count, first, _)),) = tally.failures.items()
    assert kind.startswith("KeyError")
    assert count == 60 - sum(tally.outcomes.values())
    again = try_reader(reader, tmp_path / "one", 0, range(first, first + 1))
    assert list(again.failures) == [kind]


def test_a_folder_is_whole_again_for_each_try(tmp_path: Path) -> None:
    seen: list[set[str]] = []

    def make(folder: Path) -> None:
        (folder / "a.json").write_text("{}")
        (folder / "b.json").write_text("[1]")

    def read(folder: Path) -> None:
        seen.append({path.name for path in folder.iterdir()})
        (folder / "a.json").unlink(missing_ok=True) if (folder / "a.json").is_file() else None
        (folder / "new").mkdir()

    tally = try_reader(FolderReader("folder", 1, make, read), tmp_path, 0, range(200))
    assert not tally.failures
    assert all("new" not in names for names in seen)
    assert {"a.json", "b.json"} in seen


def test_damage_depends_on_the_seed_alone() -> None:
    data = b'{"a": [1, 2, {"b": "c"}]}'
    first, second = ([damaged(Random(n), "a.json", data) for n in range(99)] for _ in range(2))
    assert first == second
    assert len(set(first)) > 60
    assert damaged_value(Random(0), {"a": 1}) == damaged_value(Random(0), {"a": 1})
