"""Nothing heavy is imported before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

import declutch
from declutch.cli import build_app
from declutch.cli.running import run_command

_HEAVY = ("torch", "transformers", "pydantic", "matplotlib", "scipy", "numpy", "datasets")


def loaded_after(code: str) -> set[str]:
    """Top-level modules in a fresh interpreter after some code."""
    program = (
        f"import sys\n{code}\n"
        "print('MODULES', ' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(result.stdout.rpartition("MODULES")[2].split())


_HELP = """
sys.argv = ["declutch", {argument!r}]
import runpy
try:
    runpy.run_module("declutch", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
"""


@pytest.mark.parametrize(
    "code",
    [
        "import declutch",
        "import declutch.errors, declutch.files, declutch.extras, declutch.cli",
        "import declutch; dir(declutch); declutch.__version__; declutch.DeclutchError",
        _HELP.format(argument="--help"),
        _HELP.format(argument="--version"),
    ],
    ids=["import", "light modules", "names", "help", "version"],
)
def test_nothing_heavy(code: str) -> None:
    loaded = loaded_after(code)
    assert "declutch" in loaded
    assert not loaded.intersection(_HEAVY)


def test_help_names_the_commands() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "declutch", "--help"], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0
    for command in ("demo", "run", "score", "locate", "apply", "revert", "evaluate", "report"):
        assert command in result.stdout


@pytest.mark.parametrize("command", [name for name in build_app() if not name.startswith("-")])
def test_help_shows_defaults_as_one_would_type_them(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(build_app(), [command, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Usage: declutch" in said
    for default in ("[]", "('", "()", "False", "None", "e-0"):
        assert default not in said


def test_all_names_resolve() -> None:
    assert sorted(set(declutch.__all__)) == sorted(declutch.__all__)
    for name in declutch.__all__:
        assert getattr(declutch, name) is not None
        assert name in dir(declutch)
    with pytest.raises(AttributeError, match="nothing_such"):
        declutch.nothing_such  # type: ignore[attr-defined]  # noqa: B018
