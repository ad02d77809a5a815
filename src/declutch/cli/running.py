"""Run one command: configuration file, verbosity, errors, exit status."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from cyclopts import App, CycloptsError
from cyclopts.config import Dict

from declutch.cli.config_file import read_config
from declutch.errors import DeclutchError


def run_command(app: App, tokens: list[str]) -> int:
    """Parse and run; print a user's error as one paragraph on stderr.

    Returns:
        0 done, 1 a check did not hold, 2 the input or the options are wrong.
    """
    verbose = _count(tokens, "-v", "--verbose")
    try:
        tokens = _take_config(app, tokens)
        outcome = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except DeclutchError as error:
        if verbose:
            raise
        return _complain(str(error))
    except CycloptsError as error:
        return _complain(f"{error} See: declutch {_command(app, tokens)}--help")
    except BrokenPipeError:  # the reader of a pipe has what it wanted (| head)
        sys.stdout = None
        return 0
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from what is on disk.", file=sys.stderr)
        return 130
    return outcome if isinstance(outcome, int) else 0


def _complain(text: str) -> int:
    # A long word (a path, a command) is kept whole, so that it can be copied.
    text = " ".join(text.split())
    print(
        textwrap.fill(f"declutch: {text}", 88, break_long_words=False, break_on_hyphens=False),
        file=sys.stderr,
    )
    return 2


def _command(app: App, tokens: list[str]) -> str:
    names = set(app)
    return "".join(f"{token} " for token in tokens[:1] if token in names)


def _count(tokens: list[str], *flags: str) -> int:
    return sum(token in flags for token in tokens)


def _take_config(app: App, tokens: list[str]) -> list[str]:
    """Take ``--config FILE`` out of the arguments; the file gives options, flags win."""
    rest: list[str] = []
    path: str | None = None
    remaining = iter(tokens)
    for token in remaining:
        if token == "--config":
            path = next(remaining, "")
        elif token.startswith("--config="):
            path = token.partition("=")[2]
        else:
            rest.append(token)
    if path is not None:
        path = str(Path(path).expanduser())
        app.config = (Dict(read_config(path), source=path, use_commands_as_keys=False),)
    return rest
