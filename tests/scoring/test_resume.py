"""A process killed at any moment goes on where it was, to the same bits."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from declutch.errors import FileFormatError
from declutch.files import read_json, write_json
from declutch.scoring.partial import Partial, Progress, read_plan, write_plan
from declutch.scoring.shortlists import Shortlist

ROOT = Path(__file__).parents[2]


def start(out: Path, pause: float, interval: float = 0) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.scoring._resume_job", str(out), str(pause)]
    return subprocess.Popen([*command, str(interval)], cwd=ROOT)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "the job ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_job_ends_with_the_bits_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole, 0, 1000).wait() == 0

    partial = killed / "partial" / "partial.json"
    reached: list[tuple[str, int, int]] = []

    def somewhere_new() -> bool:
        if not partial.exists():
            return False
        try:
            info = read_json(partial)
        except FileFormatError:  # a dimension has just been finished
            return False
        here = (info["key"]["dimension"], info["group"], len(info["done"]))
        late = len(reached) < 2 or info["key"]["at"]  # the last time while gathering
        if info["done"] and late and (not reached or here[:2] != reached[-1][:2]):
            reached.append(here)
            return True
        return False

    for _ in range(3):  # at different places
        process = start(killed, 0.2)
        wait_for(somewhere_new, process)
        process.kill()
        process.wait()
    assert len(reached) == 3
    assert start(killed, 0).wait() == 0

    assert not (killed / "partial").exists()
    first, second = (load_file(folder / "shortlists.safetensors") for folder in (whole, killed))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def some_progress() -> tuple[Progress, dict[str, torch.Tensor]]:
    shortlist = Shortlist(torch.tensor([3, 1]), torch.tensor([2.0, 1.0]), torch.tensor([0.5, -1.0]))
    # Of the second of two groups; the first held z.
    states = {"a.b": torch.arange(6.0).view(2, 3), "c": torch.ones(4)}
    return Progress(1, (4, 2), 77, {"z": shortlist}), states


GROUPS = [["z"], ["a.b", "c"]]


def test_progress_is_read_back(tmp_path: Path) -> None:
    progress, states = some_progress()
    partial = Partial(tmp_path, {"job": 1}, 0)
    assert partial.load(GROUPS, 6) is None
    partial.save(Progress(1, (), 77, progress.shortlists), {})
    partial.save(progress, states)
    partial.save(Progress(1, (4, 2, 0), 70, progress.shortlists), states)
    assert len(list(tmp_path.glob("sums-*"))) == 1  # the last set alone

    again = Partial(tmp_path, {"job": 1}, 0)
    found = again.load(GROUPS, 6)
    assert found is not None
    assert (found.group, found.done, found.batch_tokens) == (1, (4, 2, 0), 70)
    assert torch.equal(found.shortlists["z"].scores, torch.tensor([2.0, 1.0]))
    empty = {name: torch.zeros_like(state) for name, state in states.items()}
    again.load_sums(empty)
    for name, state in states.items():
        assert torch.equal(empty[name], state)
    again.remove()
    assert not list(tmp_path.iterdir())


def test_sums_of_another_job_are_not_used(tmp_path: Path) -> None:
    progress, states = some_progress()
    Partial(tmp_path, {"job": 1}, 0).save(progress, states)
    assert Partial(tmp_path, {"job": 2}, 0).load(GROUPS, 6) is None
    assert not list(tmp_path.iterdir())


Damage = Callable[[Path], None]


def flip(pattern: str) -> Damage:
    def damage(folder: Path) -> None:
        (path,) = folder.glob(pattern)
        path.write_bytes(path.read_bytes()[:-1] + b"\x7f")

    return damage


def drop(pattern: str) -> Damage:
    def damage(folder: Path) -> None:
        (path,) = folder.glob(pattern)
        path.unlink()

    return damage


def say(**changes: object) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "partial.json"
        write_json(path, {**read_json(path), **changes})

    return damage


def unlisted(folder: Path) -> None:
    """A changed file whose hash is no longer asked for."""
    flip("shortlists-1.safetensors")(folder)
    say(files={})(folder)


@pytest.mark.parametrize(
    "damage",
    [
        flip("sums-1-2/1.safetensors"),
        drop("sums-1-2/0.safetensors"),
        flip("shortlists-1.safetensors"),
        drop("shortlists-1.safetensors"),
        unlisted,
        say(done=[4, 4]),
        say(done=[4, 6]),
        say(done=[-1, 2]),
        say(done=[0, 1, 2, 3, 4, 5]),
        say(done=[]),
        say(sums=None),
        say(group=0),
        say(group=2),
        say(group=-1),
        say(batch_tokens=0),
    ],
)
def test_damaged_progress_is_not_used(damage: Damage, tmp_path: Path) -> None:
    progress, states = some_progress()
    Partial(tmp_path, {}, 0).save(progress, states)
    damage(tmp_path)
    with pytest.raises(FileFormatError, match=r"partial sums in .* are damaged"):
        Partial(tmp_path, {}, 0).load(GROUPS, 6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_sums_that_are_no_numbers_are_not_used(bad: float, tmp_path: Path) -> None:
    progress, states = some_progress()
    states["c"][1] = bad
    partial = Partial(tmp_path, {}, 0)
    partial.save(progress, states)
    partial.load(GROUPS, 6)
    with pytest.raises(FileFormatError, match="sums of c are not finite"):
        partial.load_sums({name: torch.zeros_like(state) for name, state in states.items()})


def test_a_file_that_a_killed_process_did_not_name_is_not_read(tmp_path: Path) -> None:
    progress, states = some_progress()
    Partial(tmp_path, {}, 0).save(progress, states)
    (tmp_path / "shortlists-2.safetensors").write_bytes(b"half")
    partial = Partial(tmp_path, {}, 0)
    found = partial.load(GROUPS, 6)
    assert found is not None
    assert set(found.shortlists) == {"z"}
    partial.save(found, states)
    assert not (tmp_path / "shortlists-2.safetensors").exists()


def test_a_changed_plan_is_not_followed(tmp_path: Path) -> None:
    write_plan(tmp_path, {"job": 1}, {"groups": [["a"], ["b"]], "batch_tokens": 8})
    assert read_plan(tmp_path, {"job": 2}) is None
    assert read_plan(tmp_path, {"job": 1}) == {"groups": [["a"], ["b"]], "batch_tokens": 8}
    say_plan = read_json(tmp_path / "plan.json")
    say_plan["plan"]["groups"] = [["a"]]
    write_json(tmp_path / "plan.json", say_plan)
    with pytest.raises(FileFormatError, match=r"plan\.json was changed"):
        read_plan(tmp_path, {"job": 1})


def test_it_is_due_by_the_interval(tmp_path: Path) -> None:
    assert Partial(tmp_path, {}, 0).due()
    assert not Partial(tmp_path, {}, 1000).due()
    assert not Partial(None, {}, 0).due()  # nowhere to write
