"""Options that only the command line has, and commands share; settings are beside them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, Token

from declutch.data.names import check_dimension_name
from declutch.errors import SettingsError
from declutch.files import expanded
from declutch.ranges import Count, Seconds, Timeout
from declutch.settings import DATA, EVALUATION, OUTPUT, SCORING, repeated


def _path(_: object, tokens: Sequence[Token]) -> Path:
    return expanded(tokens[0].value)


def _model(_: object, tokens: Sequence[Token]) -> str:
    """A folder by its plain name, so that a slash at its end makes no other model of it."""
    value = tokens[0].value
    folder = expanded(value)
    return str(folder) if os.path.isdir(folder) else value


# A shell leaves a «~» in quotes, after «=» or in a configuration file to the program.
A_PATH = Parameter(converter=_path)
ModelArgument = Annotated[
    str,
    Parameter(
        help="A folder, a hub id, a .gguf file, or «demo».", show_default=False, converter=_model
    ),
]
OwnMeasures = Annotated[
    tuple[str, ...],
    repeated(
        EVALUATION,
        "A measure of your own that both evaluations have, as FILE.py:NAME; repeatable.",
        show_default=False,
    ),
]
Out = Annotated[
    Path, A_PATH, Parameter(name=["--output", "-o"], help="Folder to write.", group=OUTPUT)
]
Couple = Annotated[
    list[str],
    repeated(
        DATA,
        "NAME=SOURCE of a coupled dimension; give two or more. SOURCE is a file (.csv, .json, "
        ".jsonl, .parquet), hub:OWNER/NAME or bundled:NAME, with options after «?» "
        "(split=, prompt=, response=, where=column=value).",
    ),
]
Exclude = Annotated[
    list[str], repeated(DATA, "NAME=SOURCE of a dimension whose important neurons are left alone.")
]
Data = Annotated[list[str], repeated(DATA, "NAME=SOURCE of a dimension; repeatable.")]
CheckpointInterval = Annotated[
    Seconds,
    Parameter(help="Seconds between checkpoints inside a dimension.", group=SCORING),
]
MemoryLimit = Annotated[
    str | None,
    Parameter(
        help="Memory that scoring may use beyond the loaded model, such as 8GiB [default: most of "
        "what is free].",
        group=SCORING,
    ),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EngineFlags:
    """What replies."""

    engine: Annotated[
        Literal["transformers", "vllm", "server"],
        Parameter(
            group=EVALUATION,
            help="transformers measures everything; vllm (in process) and server (OpenAI-"
            "compatible) only what replies show.",
        ),
    ] = "transformers"
    url: Annotated[
        str | None,
        Parameter(
            group=EVALUATION,
            help="Of the server, as http://localhost:8000/v1; MODEL is its name there.",
        ),
    ] = None
    api_key_env: Annotated[
        str | None,
        Parameter(group=EVALUATION, help="Environment variable that holds the server's key."),
    ] = None
    concurrency: Annotated[
        Count, Parameter(group=EVALUATION, help="Requests to the server at a time.")
    ] = 8
    timeout: Annotated[
        Timeout, Parameter(group=EVALUATION, help="Seconds for each request to the server.")
    ] = 120.0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class OutputFlags:
    """How much is said, and in what form."""

    json: Annotated[
        bool, Parameter(group=OUTPUT, negative="", help="Print the result as JSON on stdout.")
    ] = False
    verbose: Annotated[
        bool,
        Parameter(
            name=["--verbose", "-v"], group=OUTPUT, negative="", help="Details, and tracebacks."
        ),
    ] = False
    quiet: Annotated[
        bool, Parameter(name=["--quiet", "-q"], group=OUTPUT, negative="", help="Errors only.")
    ] = False
    config: Annotated[
        str | None,
        Parameter(group=OUTPUT, help="YAML file with these options by name; flags win."),
    ] = None

    def start(self) -> None:
        """Set up messages on stderr."""
        from declutch.progress import set_verbosity

        set_verbosity(-1 if self.quiet else int(self.verbose))


def named_sources(values: Sequence[str], flag: str) -> dict[str, str]:
    """``NAME=SOURCE`` pairs as a mapping.

    Raises:
        SettingsError: one has no name or one that can't be, or a name comes twice.
    """
    found: dict[str, str] = {}
    for value in values:
        name, equals, source = value.partition("=")
        if not equals or not source:
            raise SettingsError(
                f"{flag} «{value}»: write NAME=SOURCE, for example fairness=data/fairness.csv."
            )
        check_dimension_name(name)
        if name in found:
            raise SettingsError(f"{flag} names «{name}» twice.")
        found[name] = source
    return found


def memory_bytes(limit: str | None) -> int | None:
    """Bytes of ``--memory-limit``."""
    from declutch.scoring.memory import parse_size

    return parse_size(limit) if limit is not None else None
