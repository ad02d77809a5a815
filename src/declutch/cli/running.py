"""Run one command: configuration file, arguments, verbosity, errors, exit status."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from cyclopts import App, CycloptsError

from declutch.cli.config import take_config
from declutch.errors import DeclutchError, SettingsError
from declutch.ranges import check_value
from declutch.registry import fault_of_others
from declutch.terminal import visible

DONE, WRONG_INPUT, OWN_FAULT = 0, 2, 3
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
# Commands that find what they did before in the folder of -o.
_GO_ON = ("run", "demo", "reproduce", "score", "evaluate", "train")
_SEVERAL_PROCESSES = ("score", "train")
_REPORT = (
    "This is a fault of declutch, not of what you gave it. Please report it with the command and "
    "what -v prints."
)


class _Terminated(BaseException):
    """SIGTERM came. No library on the way takes it for an error of its own."""


def run_command(app: App, tokens: list[str]) -> int:
    """Parse and run; print an error as one paragraph on stderr, with ``-v`` after its traceback.

    Returns:
        0 done; 1 a guard did not hold, or a run came out otherwise; 2 the input or the options are
        wrong, or the machine refused (a full disk); 3 a fault of declutch; 130 and 143 where a
        signal ended it.
    """
    name = tokens[0] if tokens and tokens[0] in set(app) else ""
    try:
        with _sigterm_raises():
            outcome = _run(app, name, take_config(app, tokens))
    except DeclutchError as error:
        return _complain(tokens, str(error))
    except CycloptsError as error:
        return _complain(tokens, f"{error} See: declutch {name}{' ' if name else ''}--help")
    except BrokenPipeError:  # the reader of a pipe has what it wanted (| head)
        sys.stdout = None
        return DONE
    except OSError as error:
        return _complain(tokens, _refused_by_the_system(error))
    except KeyboardInterrupt:
        return _stopped(name, "Interrupted", INTERRUPTED)
    except _Terminated:
        return _stopped(name, "Terminated", TERMINATED)
    except MemoryError as error:
        return _complain(tokens, f"There is not enough memory ({error or 'of the system'}).")
    except Exception as error:
        # safetensors has a class of its own for what the system refuses (a full disk).
        if type(error).__name__ == "SafetensorError":
            return _complain(
                tokens, f"A tensor file could not be read or written ({error}). Check the disk."
            )
        if theirs := fault_of_others(error):
            return _complain(tokens, f"{theirs[0].upper()}{theirs[1:]}")
        what = f"{type(error).__name__}: {error}"[:500]
        return _complain(tokens, f"internal error: {what}. {_REPORT}", OWN_FAULT)
    return outcome if isinstance(outcome, int) else DONE


def _run(app: App, name: str, tokens: list[str]) -> Any:
    _refuse_torchrun(name)
    command, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    if command.__module__.startswith("declutch."):  # and not cyclopts's own help and version
        _check_arguments(command, bound.arguments)
    return command(*bound.args, **bound.kwargs)


def _check_arguments(command: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """See that numbers are in their ranges and texts can be written, before anything is begun."""
    hints = get_type_hints(command, include_extras=True)
    for name, value in arguments.items():
        check_value(name, hints.get(name), value)
        _check_text(name, value)


def _check_text(name: str, value: object) -> None:
    if is_dataclass(value):
        for field in fields(value):
            _check_text(field.name, getattr(value, field.name))
    elif isinstance(value, list | tuple):
        for one in value:
            _check_text(name, one)
    elif isinstance(value, str | Path):
        text = str(value)
        if "\0" in text or text.encode("utf-8", "replace").decode("utf-8") != text:
            raise SettingsError(
                f"--{name.replace('_', '-')}: {text!r} holds a byte that is no UTF-8 text. Rename "
                "the file, or correct the value."
            )


def _refuse_torchrun(name: str) -> None:
    """Several processes of a command that knows nothing of the others write over each other."""
    size = os.environ.get("WORLD_SIZE", "1")
    if name and name not in _SEVERAL_PROCESSES and size != "1":
        raise SettingsError(
            f"WORLD_SIZE is {size}: this is one of several processes, as torchrun starts them, and "
            f"«declutch {name}» runs in one. Start it without torchrun, or unset WORLD_SIZE; only "
            "«declutch score» and «declutch train» share their work among processes."
        )


def _refused_by_the_system(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "Make room there" if full else "Check that path, its permissions and the disk"
    return (
        f"The system refused{where} ({error.strerror or error}). {remedy}, then give the same "
        "command again."
    )


def _complain(tokens: list[str], text: str, status: int = WRONG_INPUT) -> int:
    if any(token in ("-v", "--verbose") for token in tokens):
        print(visible(traceback.format_exc()), file=sys.stderr)
    # A long word (a path, a command) is kept whole, so that it can be copied.
    text = " ".join(visible(f"declutch: {text}").split())
    print(textwrap.fill(text, 88, break_long_words=False, break_on_hyphens=False), file=sys.stderr)
    return status


def _stopped(name: str, how: str, status: int) -> int:
    after = (
        "The same command goes on from what is on disk."
        if name in _GO_ON
        else "Nothing is left half-written; give the same command again."
    )
    print(f"\n{how}. {after}", file=sys.stderr)
    return status


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """End by an exception on SIGTERM, so that temporary files are removed on the way out."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
