"""Options that commands share, grouped as ``--help`` shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter, Token

from declutch.data.names import check_dimension_name
from declutch.errors import SettingsError
from declutch.files import expanded
from declutch.ranges import Count, Length, Scale, Seconds, Seed, Share, Temperature, Timeout

MODEL = Group("Model", sort_key=10)
DATA = Group("Data", sort_key=11)
SCORING = Group("Scoring", sort_key=12)
SELECTION = Group("Selection", sort_key=13)
EVALUATION = Group("Evaluation", sort_key=14)
GUARDS = Group("Guards", sort_key=15)
OUTPUT = Group("Output", sort_key=16)
DANGEROUS = Group("Dangerous", sort_key=17)


def _path(_: object, tokens: Sequence[Token]) -> Path:
    return expanded(tokens[0].value)


def _model(_: object, tokens: Sequence[Token]) -> str:
    """A folder by its plain name, so that a slash at its end makes no other model of it."""
    value = tokens[0].value
    folder = expanded(value)
    return str(folder) if folder.is_dir() else value


# A shell leaves a «~» in quotes, after «=» or in a configuration file to the program.
A_PATH = Parameter(converter=_path)
ModelArgument = Annotated[
    str,
    Parameter(
        help="A folder, a hub id, a .gguf file, or «demo».", show_default=False, converter=_model
    ),
]
Out = Annotated[
    Path, A_PATH, Parameter(name=["--output", "-o"], help="Folder to write.", group=OUTPUT)
]
Couple = Annotated[
    list[str],
    Parameter(
        help="NAME=SOURCE of a coupled dimension; give two or more. SOURCE is a file (.csv, .json, "
        ".jsonl, .parquet), hub:OWNER/NAME or bundled:NAME, with options after «?» "
        "(split=, prompt=, response=, where=column=value).",
        group=DATA,
        negative="",
        consume_multiple=False,
    ),
]
Exclude = Annotated[
    list[str],
    Parameter(
        help="NAME=SOURCE of a dimension whose important neurons are left alone.",
        group=DATA,
        negative="",
        consume_multiple=False,
    ),
]
Data = Annotated[
    list[str],
    Parameter(
        help="NAME=SOURCE of a dimension; repeatable.",
        group=DATA,
        negative="",
        consume_multiple=False,
    ),
]
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
class ModelFlags:
    """How the model is loaded."""

    dtype: Annotated[
        Literal["auto", "checkpoint", "float32", "bfloat16", "float16"],
        Parameter(group=MODEL, help="auto: the checkpoint's own on a GPU, float32 on a CPU."),
    ] = "auto"
    device: Annotated[str | None, Parameter(group=MODEL, help="cpu, cuda, cuda:1 ...")] = None
    device_map: Annotated[
        str | None, Parameter(group=MODEL, help="auto: spread over all GPUs (accelerate).")
    ] = None
    revision: Annotated[
        str | None, Parameter(group=MODEL, help="Branch, tag or commit on the hub.")
    ] = None
    trust_remote_code: Annotated[
        bool, Parameter(group=DANGEROUS, negative="", help="Run code that comes with the model.")
    ] = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EncodingFlags:
    """Which examples are used and how they become tokens."""

    num_samples: Annotated[
        Count, Parameter(group=DATA, help="Examples of each dimension, sampled with the seed.")
    ] = 128
    allow_fewer: Annotated[
        bool, Parameter(group=DATA, negative="", help="Use what is there when it is fewer.")
    ] = False
    seed: Annotated[Seed, Parameter(group=DATA, help="Of every random choice.")] = 0
    max_length: Annotated[
        Length,
        Parameter(group=DATA, help="Most tokens of an example; responses are cut, never prompts."),
    ] = 1024
    prompt_format: Annotated[
        Literal["auto", "chat", "raw", "raw-released"],
        Parameter(
            group=DATA,
            help="auto: chat where the tokenizer has a template. raw-released: as the code "
            "published with the paper.",
        ),
    ] = "auto"
    target_modules: Annotated[
        str,
        Parameter(
            group=SCORING,
            help="mlp, attention, all, or a regular expression for module names.",
        ),
    ] = "mlp"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ScoreFlags(EncodingFlags):
    """How neurons are scored."""

    method: Annotated[
        Literal["importance", "wanda", "sparsegpt"],
        Parameter(group=SCORING, help="What is scored."),
    ] = "importance"
    statistic: Annotated[
        Literal["abs", "signed"],
        Parameter(group=SCORING, help="abs: mean |W·g| (the paper); signed: mean W·g."),
    ] = "abs"
    contrast: Annotated[
        tuple[str, ...],
        Parameter(
            group=SCORING,
            negative="",
            consume_multiple=False,
            help="A dimension to score by good (+) against bad (-) responses to the same prompts; "
            "repeatable.",
            show_default=False,
        ),
    ] = ()
    all_tokens: Annotated[
        bool,
        Parameter(group=SCORING, negative="", help="wanda, sparsegpt: over prompt tokens as well."),
    ] = False
    shortlist: Annotated[
        Share, Parameter(group=SCORING, help="Fraction of each matrix that is kept on disk.")
    ] = 1e-3


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LocateFlags:
    """Which neurons are chosen, and what becomes of them."""

    ratio: Annotated[
        Share,
        Parameter(
            group=SELECTION,
            help="Fraction of a matrix taken as important (small models need 1e-5 or more).",
        ),
    ] = 5e-7
    rule: Annotated[
        str,
        Parameter(
            group=SELECTION,
            help="coupled, released, single:NAME, union, contrast, or random (the control).",
        ),
    ] = "coupled"
    scope: Annotated[
        Literal["matrix", "layer", "model"],
        Parameter(group=SELECTION, help="What the ratio is a fraction of."),
    ] = "matrix"
    scale: Annotated[
        Scale, Parameter(group=SELECTION, help="What the chosen weights are multiplied by.")
    ] = 0.0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EvaluateFlags:
    """How a model is judged."""

    suite: Annotated[
        tuple[str, ...],
        Parameter(
            group=EVALUATION,
            negative="",
            consume_multiple=False,
            help="bundled, salad, donotanswer[:PATH], or DIMENSION=SOURCE of prompts of your own "
            "(harmless:DIMENSION=SOURCE for harmless ones); repeatable [default: bundled].",
            show_default=False,
        ),
    ] = ()
    judge: Annotated[
        tuple[str, ...],
        Parameter(
            group=EVALUATION,
            negative="",
            consume_multiple=False,
            help="heuristic (offline), embedding:FOLDER, qwen3guard, ... with options after «:» "
            "(docs/judges.md); repeatable [default: heuristic].",
            show_default=False,
        ),
    ] = ()
    batch_size: Annotated[Count, Parameter(group=EVALUATION, help="Replies at a time.")] = 32
    max_new_tokens: Annotated[
        Count, Parameter(group=EVALUATION, help="Most tokens of a reply.")
    ] = 64
    limit: Annotated[
        Count | None,
        Parameter(group=EVALUATION, help="Only the first so many prompts of each set."),
    ] = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DecodingFlags:
    """How replies are made; each flag wins over the preset."""

    preset: Annotated[
        Literal["chat", "paper"],
        Parameter(
            group=EVALUATION,
            help="chat: the tokenizer's template, greedy, 64 new tokens. paper: the same without "
            "a template, as the paper evaluates.",
        ),
    ] = "chat"
    prompt_format: Annotated[
        Literal["auto", "chat", "raw"] | None,
        Parameter(group=EVALUATION, help="auto: chat where there is a template."),
    ] = None
    temperature: Annotated[
        Temperature | None,
        Parameter(group=EVALUATION, help="Above 0: sample [default: 0, greedy]."),
    ] = None
    top_p: Annotated[
        Share | None,
        Parameter(group=EVALUATION, help="Sample from the likeliest tokens of this probability."),
    ] = None
    seed: Annotated[
        Seed, Parameter(group=EVALUATION, help="Of sampled replies and of bootstrap intervals.")
    ] = 0


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
class GuardFlags:
    """What must hold; see docs/guards.md."""

    guard: Annotated[
        tuple[str, ...],
        Parameter(
            group=GUARDS,
            negative="",
            consume_multiple=False,
            help="Exit with 1 where it does not hold: 'perplexity<=1.02x', 'fairness>=baseline', "
            "'over_refusal<=baseline+0.05'; repeatable.",
        ),
    ] = ()
    guard_mode: Annotated[
        Literal["lenient", "strict"],
        Parameter(
            group=GUARDS,
            help="lenient: fails where the 95 % interval speaks against it; strict: holds only "
            "where the interval shows it.",
        ),
    ] = "lenient"


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
