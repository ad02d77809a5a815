"""One process a folder, and what a killed one leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from declutch.errors import SettingsError
from declutch.locks import LOCK_FILE, locked, locked_beside

HOLD = """
import sys
from pathlib import Path
from declutch.files import atomic_path
from declutch.locks import locked, locked_beside
hold = locked if sys.argv[1] == "inside" else locked_beside
out = Path(sys.argv[2])
with hold(out), atomic_path(out / "a.json" if sys.argv[1] == "inside" else out) as temporary:
    temporary.write_text("half") if sys.argv[1] == "inside" else temporary.mkdir()
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(way: str, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, way, str(out)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize(("way", "hold"), [("inside", locked), ("beside", locked_beside)])
def test_a_killed_holder_gives_the_folder_back_and_is_cleared_up(
    way: str, hold: type, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = holder(way, out)
    with pytest.raises(SettingsError, match="Another process is writing to"), hold(out):
        raise AssertionError
    assert list(tmp_path.rglob(".*.part*"))
    process.kill()
    process.communicate()
    assert list(tmp_path.rglob(".*.part*"))
    with hold(out):
        assert not list(tmp_path.rglob(".*.part*"))


def test_nothing_else_is_cleared_up(tmp_path: Path) -> None:
    kept = [".hidden.part", "a.12345678.part", ".a.1234567.part", ".a.12345678.part.d"]
    for name in kept:
        (tmp_path / name).touch()
    (tmp_path / ".b.12345678.part").mkdir()  # a folder may be another process's at work
    (tmp_path / ".c.12345678.part.json").touch()
    with locked(tmp_path):
        found = {path.name for path in tmp_path.iterdir()}
    assert found == {*kept, ".b.12345678.part", LOCK_FILE} - {".a.12345678.part.d"}


def test_a_folder_that_was_made_for_the_lock_alone_goes_again(tmp_path: Path) -> None:
    with locked(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()
    with locked(tmp_path / "new"):
        (tmp_path / "new" / "file").touch()
    assert (tmp_path / "new" / "file").exists()
    with locked(None):
        pass


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="can't be written to"), locked(tmp_path / "file"):
        raise AssertionError
