"""With which status a command ends, and what it says."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cyclopts import App
from safetensors import SafetensorError

from declutch.cli import build_app
from declutch.cli.running import run_command
from declutch.errors import DataError

ROOT = Path(__file__).parents[2]


def raising(error: BaseException) -> App:
    app = App(name="declutch")

    @app.command
    def score() -> None:
        raise error

    @app.command
    def apply() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (DataError("x.csv is wrong."), 2, "declutch: x.csv is wrong."),
        (OSError(errno.ENOSPC, "No space left on device", "/out/a"), 2, "/out/a (No space left"),
        (PermissionError(errno.EROFS, "Read-only file system", "/o"), 2, "Read-only file system"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "aaa"), 2, "File name too long"),
        (SafetensorError("I/O error: No space left on device"), 2, "No space left on device"),
        (MemoryError(), 2, "not enough memory"),
        (ZeroDivisionError("division by zero"), 3, "internal error: ZeroDivisionError"),
        (RecursionError("too deep"), 3, "Please report it"),
        (AssertionError("no"), 3, "Please report it"),
        (KeyboardInterrupt(), 130, "Interrupted. The same command goes on"),
    ],
)
def test_status(
    error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(raising(error), ["score"]) == status
    shown = capsys.readouterr().err
    assert said in " ".join(shown.split())
    assert "Traceback" not in shown


def test_a_traceback_only_with_v(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["locate", "/nowhere", "--couple", "a", "--couple", "b", "-o", "/nowhere/o"]
    assert run_command(build_app(), command) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert run_command(build_app(), [*command, "-v"]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.rstrip().endswith("does not exist.")


def test_what_does_not_go_on_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(KeyboardInterrupt()), ["apply"]) == 130
    assert "Nothing is left half-written" in capsys.readouterr().err


def test_sigterm_ends_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    app, cleaned = App(name="declutch"), []

    @app.command
    def run() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            cleaned.append(True)

    before = signal.getsignal(signal.SIGTERM)
    assert run_command(app, ["run"]) == 143
    assert cleaned == [True]
    assert "Terminated. The same command goes on" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["locate", "s", "--couple", "a", "-o", "o", "--scale", "nan"], "--scale must be a number"),
        (["locate", "s", "--couple", "a", "-o", "o", "--seed", "-1"], "--seed must be at least 0"),
        (["locate", "s", "--couple", "a", "-o", "o", "--ratio", "0"], "--ratio must be above 0"),
        (["score", "m", "--data", "a=b.csv", "-o", "o", "--shortlist", "inf"], "--shortlist must"),
        (["score", "m", "--data", "a=b.csv", "-o", "o", "--max-length", "-5"], "--max-length must"),
        (["score", "m", "--data", "a=b.csv", "-o", "o", "--num-samples", "0"], "--num-samples"),
        (["score", "m", "--data", "a=b.csv", "-o", "o", "--checkpoint-interval", "nan"],
         "--checkpoint-interval must be a number"),
        (["score", "m", "--data", "a=b.csv", "-o", "o", "--seed", "9" * 5000], "--seed"),
        (["apply", "m", "p", "-o", "o", "--scale", "inf"], "--scale must be a finite number"),
        (["inspect", "m", "--show", "-1"], "--show must be at least 0"),
        (["compare", "a", "b", "--seed", "-1"], "--seed must be at least 0"),
        (["evaluate", "m", "-o", "o", "--limit", "0"], "--limit must be at least 1"),
        (["evaluate", "m", "-o", "o", "--timeout", "0"], "--timeout must be above 0"),
        (["evaluate", "m", "-o", "o", "--capability-limit", "-1"], "--capability-limit must be"),
        (["judge", "fit", "--aware", "a=b", "--unaware", "a=b", "-o", "o", "--folds", "1"],
         "--folds must be at least 2"),
        (["locate", "a\0b", "--couple", "a", "-o", "o"], "no UTF-8 text"),
        (["locate", "s", "--couple", "a\udcff", "-o", "o"], "no UTF-8 text"),
        (["locate", "a" * 300, "--couple", "a", "--couple", "b", "-o", "o"], "too long"),
    ],
)  # fmt: skip
def test_values_that_no_option_takes(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(build_app(), arguments) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not Path("o").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"2: x", "the key 2 is no text"),
        (b"on: 1", "the key True is no text"),
        (b"a: [", "line 1"),
        (b"seed: " + b"9" * 5000, "not valid YAML"),
        (b"seed: 2020-13-45", "not valid YAML"),
        (b"[1, 2]", "must hold options by name"),
        (b"a: " + b"[" * 5000, "nested too deeply"),
        (b"a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
         b"c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c]\n"
         b"e: [*d, *d, *d, *d]", "more than 10,000 values"),
        (b"a: &a [*a]", "more than 10,000 values"),
        (b"output: !!binary AAAA", "type bytes"),
        (b"x: !!python/object:os.system {}", "not valid YAML"),
        (b"output: \"a\\0b\"", "no UTF-8 text"),
        (b"output: \"a\\ud800\"", "no UTF-8 text"),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"x" * 300_000, "larger than"),
    ],
)  # fmt: skip
def test_configuration_files(
    text: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "options.yaml"
    path.write_bytes(text)
    command = ["locate", "scores", "--couple", "a", "--couple", "b", "-o", "out"]
    if text.startswith(b"output"):
        command = command[:-2]
    assert run_command(build_app(), [*command, "--config", str(path)]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [_fifo, _endless])
def test_files_without_an_end(
    make: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("c.yaml", "scores.json", "patch.json", "data.csv"):
        make(tmp_path / name)
    locate = ["locate", str(tmp_path), "--couple", "a", "--couple", "b", "-o", str(tmp_path / "o")]
    for command in (
        [*locate, "--config", str(tmp_path / "c.yaml")],
        locate,
        ["apply", "demo", str(tmp_path), "-o", str(tmp_path / "o")],
    ):
        assert run_command(build_app(), command) == 2
        assert "a pipe or a device" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("command", ["run", "evaluate", "locate", "demo", "judge"])
def test_torchrun_is_for_score_alone(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run_command(build_app(), [command]) == 2
    assert f"«declutch {command}» runs in one" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_an_interrupted_command_says_that_it_goes_on(tmp_path: Path) -> None:
    """From outside, as a shell and as a scheduler end it."""
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        os.mkfifo(fifo := tmp_path / f"{status}")
        code = (
            "import sys; from cyclopts import App; from declutch.cli.running import run_command\n"
            "app = App(name='declutch')\n"
            "@app.command\n"
            f"def run():\n  open({str(fifo)!r}, 'w').close(); import signal; signal.pause()\n"
            "sys.exit(run_command(app, ['run']))"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        fifo.read_bytes()  # it is there now
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == status
        assert "The same command goes on from what is on disk." in said
