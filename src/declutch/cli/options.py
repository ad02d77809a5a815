"""Options that only the command line has, and commands share; settings are beside them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, Token

from declutch.data.names import check_dimension_name
from declutch.errors import SettingsError
from declutch.files import expanded
from declutch.ranges import Count, Seconds, Timeout
from declutch.settings import DATA, EVALUATION, OUTPUT, SCORING, RunSettings


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
    str, Parameter(help="A folder, a hub id, a .gguf file, or «demo».", converter=_model)
]
OwnMeasures = Annotated[
    tuple[str, ...],
    EVALUATION,
    Parameter(
        help="A measure of your own that both evaluations have, as FILE.py:NAME; repeatable."
    ),
]
Out = Annotated[Path, A_PATH, OUTPUT, Parameter(name=["--output", "-o"], help="Folder to write.")]
Data = Annotated[list[str], DATA, Parameter(help="NAME=SOURCE of a dimension; repeatable.")]
OnDisk = Annotated[
    bool,
    OUTPUT,
    Parameter(
        help="Patch the safetensors files without loading the model: for models larger than memory."
    ),
]
CheckpointInterval = Annotated[
    Seconds, SCORING, Parameter(help="Seconds between checkpoints inside a dimension.")
]
MemoryLimit = Annotated[
    str | None,
    SCORING,
    Parameter(
        help="Memory that scoring may use beyond the loaded model, such as 8GiB [default: most of "
        "what is free]."
    ),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EngineFlags:
    """What replies."""

    engine: Annotated[Literal["transformers", "vllm", "server"], EVALUATION] = "transformers"
    """transformers measures everything; vllm (in process) and server (OpenAI-compatible) only what
    replies show."""
    url: Annotated[str | None, EVALUATION] = None
    """Of the server, as http://localhost:8000/v1; MODEL is its name there."""
    api_key_env: Annotated[str | None, EVALUATION] = None
    """Environment variable that holds the server's key."""
    concurrency: Annotated[Count, EVALUATION] = 8
    """Requests to the server at a time."""
    timeout: Annotated[Timeout, EVALUATION] = 120.0
    """Seconds for each request to the server."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class JobFlags:
    """What a whole job is about, and what its scoring may take."""

    couple: Annotated[list[str], DATA]
    """NAME=SOURCE of a coupled dimension; give two or more. SOURCE is a file (.csv, .json, .jsonl,
    .parquet), hub:OWNER/NAME or bundled:NAME, with options after «?» (split=, prompt=, response=,
    where=column=value)."""
    exclude: Annotated[list[str], DATA] = field(default_factory=list)
    """NAME=SOURCE of a dimension whose important neurons are left alone."""
    memory_limit: MemoryLimit = None
    checkpoint_interval: CheckpointInterval = 300.0

    def settings(self, model: str, **parts: Any) -> RunSettings:
        """The settings of the job, from its parts by their names.

        Raises:
            SettingsError: a dimension has no name or one that can't be, or comes twice.
        """
        couple = named_sources(self.couple, "--couple")
        exclude = named_sources(self.exclude, "--exclude")
        return RunSettings(model=model, couple=couple, exclude=exclude, **parts)

    @property
    def work(self) -> dict[str, Any]:
        """What scoring may take, as the library's keywords."""
        return {
            "memory_limit": memory_bytes(self.memory_limit),
            "checkpoint_interval": self.checkpoint_interval,
        }


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class OutputFlags:
    """How much is said, and in what form."""

    json: Annotated[bool, OUTPUT] = False
    """Print the result as JSON on stdout."""
    verbose: Annotated[bool, OUTPUT, Parameter(name=["--verbose", "-v"])] = False
    """Details, and tracebacks."""
    quiet: Annotated[bool, OUTPUT, Parameter(name=["--quiet", "-q"])] = False
    """Errors only."""
    config: Annotated[str | None, OUTPUT] = None
    """YAML file with these options by name; flags win."""

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
