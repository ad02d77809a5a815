"""Every setting, once: the library, the command line, YAML files and ``run.json`` read these.

A class is a frozen dataclass. A field's annotation says its range and, as a cyclopts ``Parameter``,
where and how the command line shows it. Nothing heavy is imported here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any, Literal, TypeVar

from cyclopts import Group, Parameter

from declutch.errors import SettingsError
from declutch.ranges import (
    Count,
    Factor,
    Length,
    Minutes,
    Scale,
    Seed,
    Share,
    Temperature,
    check_ranges,
)

MODEL = Group("Model", sort_key=10)
DATA = Group("Data", sort_key=11)
SCORING = Group("Scoring", sort_key=12)
SELECTION = Group("Selection", sort_key=13)
EVALUATION = Group("Evaluation", sort_key=14)
GUARDS = Group("Guards", sort_key=15)
TUNING = Group("Tuning", sort_key=15)
OUTPUT = Group("Output", sort_key=16)
DANGEROUS = Group("Dangerous", sort_key=17)

Dtype = Literal["auto", "checkpoint", "float32", "bfloat16", "float16"]
PromptFormat = Literal["auto", "chat", "raw", "raw-released"]
Scope = Literal["matrix", "layer", "model"]
Pairing = Literal["order", "length", "seeded"]
Mode = Literal["lenient", "strict"]
S = TypeVar("S", bound="Settings")


def repeated(group: Group, text: str, **more: Any) -> Parameter:
    """An option that is given once for each of its values."""
    return Parameter(group=group, help=text, negative="", consume_multiple=False, **more)


class Settings:
    """What all of them have in common: a number out of its range is refused when one is made."""

    def __post_init__(self) -> None:
        check_ranges(self)


def with_options(kind: type[S], settings: S | None, options: Mapping[str, Any]) -> S:
    """The settings (those by default, if none are given) with fields as keywords, which win.

    Raises:
        SettingsError: they are of another kind, there is no such field, or a value can't be one.
    """
    settings = kind() if settings is None else settings
    if not isinstance(settings, kind):
        raise SettingsError(
            f"settings must be {kind.__name__}, not {type(settings).__name__}; or give fields by "
            "name, as keywords."
        )
    known = [each.name for each in fields(settings)]  # type: ignore[arg-type]
    for name in options:
        if name not in known:
            like = difflib.get_close_matches(name, known, 1)
            hint = f" Did you mean {like[0]}?" if like else ""
            raise SettingsError(
                f"There is no option «{name}» here.{hint} There are: {', '.join(known)}."
            )
    return replace(settings, **options)  # type: ignore[type-var]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ModelSettings(Settings):
    """How a model is loaded; names as in transformers."""

    dtype: Annotated[
        Dtype,
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
class EncodingSettings(Settings):
    """Which examples are used, how they become tokens, and which matrices are meant."""

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
        PromptFormat,
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
class ScoreSettings(EncodingSettings):
    """What decides the shortlists; the defaults are the paper's (arXiv 2410.16672, section 4)."""

    method: Annotated[
        str, Parameter(group=SCORING, help="importance, wanda, sparsegpt, or FILE.py:NAME.")
    ] = "importance"
    statistic: Annotated[
        Literal["abs", "signed"],
        Parameter(group=SCORING, help="abs: mean |W·g| (the paper); signed: mean W·g."),
    ] = "abs"
    contrast: Annotated[
        tuple[str, ...],
        repeated(
            SCORING,
            "A dimension to score by good (+) against bad (-) responses to the same prompts; "
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
class LocateSettings(Settings):
    """Which neurons are chosen, and what becomes of them; the defaults are the paper's."""

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
            help="coupled, released, single:NAME, union, contrast, random (the control), or "
            "FILE.py:NAME.",
        ),
    ] = "coupled"
    scope: Annotated[Scope, Parameter(group=SELECTION, help="What the ratio is a fraction of.")] = (
        "matrix"
    )
    scale: Annotated[
        Scale, Parameter(group=SELECTION, help="What the chosen weights are multiplied by.")
    ] = 0.0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class JudgingSettings(Settings):
    """What a model is evaluated on and by; what an evaluation shares with scoring is apart."""

    suite: Annotated[
        tuple[str, ...],
        repeated(
            EVALUATION,
            "bundled, salad, donotanswer[:PATH], or DIMENSION=SOURCE of prompts of your own "
            "(harmless:DIMENSION=SOURCE for harmless ones); repeatable.",
        ),
    ] = ("bundled",)
    judge: Annotated[
        tuple[str, ...],
        repeated(
            EVALUATION,
            "heuristic (offline), embedding:FOLDER, qwen3guard, ... with options after «:» "
            "(docs/judges.md), or FILE.py:NAME; repeatable.",
        ),
    ] = ("heuristic",)
    measure: Annotated[
        tuple[str, ...],
        repeated(
            EVALUATION,
            "A measure beside the usual ones, as FILE.py:NAME; repeatable.",
            show_default=False,
        ),
    ] = ()
    batch_size: Annotated[Count, Parameter(group=EVALUATION, help="Replies at a time.")] = 32
    limit: Annotated[
        Count | None,
        Parameter(group=EVALUATION, help="Only the first so many prompts of each set."),
    ] = None
    preset: Annotated[
        Literal["chat", "paper"],
        Parameter(
            group=EVALUATION,
            help="chat: the tokenizer's template, greedy, 64 new tokens. paper: the same without "
            "a template, as the paper evaluates.",
        ),
    ] = "chat"
    max_new_tokens: Annotated[
        Count | None, Parameter(group=EVALUATION, help="Most tokens of a reply [default: 64].")
    ] = None
    temperature: Annotated[
        Temperature | None,
        Parameter(group=EVALUATION, help="Above 0: sample [default: 0, greedy]."),
    ] = None
    top_p: Annotated[
        Share | None,
        Parameter(group=EVALUATION, help="Sample from the likeliest tokens of this probability."),
    ] = None
    thinking: Annotated[
        bool | None,
        Parameter(group=EVALUATION, help="Of templates that know a thinking mode [default: off]."),
    ] = None
    capability: Annotated[
        tuple[str, ...],
        repeated(
            EVALUATION,
            "A capability task, as hellaswag, or paper-capability for the paper's nine; "
            "repeatable.",
            show_default=False,
        ),
    ] = ()
    capability_limit: Annotated[
        Count | None,
        Parameter(group=EVALUATION, help="Items of each task [default: as --limit]."),
    ] = None
    dependence: Annotated[
        Pairing | None,
        Parameter(
            group=EVALUATION,
            help="Measure the dependence of two dimensions' representations by layer, with "
            "prompts paired in this way.",
        ),
    ] = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(JudgingSettings):
    """How a model is evaluated."""

    prompt_format: Annotated[
        Literal["auto", "chat", "raw"] | None,
        Parameter(group=EVALUATION, help="auto: chat where there is a template."),
    ] = None
    max_length: Annotated[
        Length, Parameter(group=EVALUATION, help="Most tokens of a pair or a passage.")
    ] = 1024
    seed: Annotated[
        Seed, Parameter(group=EVALUATION, help="Of sampled replies and of bootstrap intervals.")
    ] = 0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CheckSettings(Settings):
    """What must hold; see docs/guards.md."""

    guard: Annotated[
        tuple[str, ...],
        repeated(
            GUARDS,
            "Exit with 1 where it does not hold: 'perplexity<=1.02x', 'fairness>=baseline', "
            "'over_refusal<=baseline+0.05'; repeatable.",
            show_default=False,
        ),
    ] = ()
    guard_mode: Annotated[
        Mode,
        Parameter(
            group=GUARDS,
            help="lenient: fails where the 95 % interval speaks against it; strict: holds only "
            "where the interval shows it.",
        ),
    ] = "lenient"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TuneSettings(Settings):
    """How long an edit is searched for, and what it may cost; see docs/tune.md."""

    minutes: Annotated[
        Minutes | None, Parameter(group=TUNING, help="How long candidates are searched.")
    ] = 10
    trials: Annotated[
        Count | None, Parameter(group=TUNING, help="How many candidates are tried at most.")
    ] = None
    survivors: Annotated[
        Count, Parameter(group=TUNING, help="How many candidates get replies to tuning prompts.")
    ] = 6
    max_perplexity: Annotated[
        Factor,
        Parameter(group=TUNING, help="Perplexity may become so many times the original's."),
    ] = 1.01
    tuning_share: Annotated[
        Share,
        Parameter(group=TUNING, help="Share of prompts to search on; the others prove the winner."),
    ] = 0.5
    tuning_limit: Annotated[
        Count | None, Parameter(group=TUNING, help="Tuning prompts of each set that get replies.")
    ] = 40
    tuning_tokens: Annotated[
        Count, Parameter(group=TUNING, help="Most tokens of those replies.")
    ] = 40
    quick_items: Annotated[
        Count,
        Parameter(group=TUNING, help="Pairs, passages and prompts that a candidate is tried on."),
    ] = 16
    processes: Annotated[
        Count, Parameter(group=TUNING, help="Processes that share the search.")
    ] = 1


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Everything that decides the outcome of a run.

    Attributes:
        couple, exclude: for each dimension where its examples are.
    """

    model: str
    couple: Mapping[str, Any]
    exclude: Mapping[str, Any] = field(default_factory=dict)
    load: ModelSettings = field(default_factory=ModelSettings)
    score: ScoreSettings = field(default_factory=ScoreSettings)
    locate: LocateSettings = field(default_factory=LocateSettings)
    judging: JudgingSettings = field(default_factory=JudgingSettings)
    checks: CheckSettings = field(default_factory=CheckSettings)
    tune: TuneSettings = field(default_factory=TuneSettings)

    @classmethod
    def of(
        cls,
        model: str,
        couple: Mapping[str, Any],
        exclude: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> RunSettings:
        """Settings from keywords, each given to the part that has a field of that name.

        Raises:
            SettingsError: none has, or a value is out of its range.
        """
        parts = {
            "load": ModelSettings(), "score": ScoreSettings(), "locate": LocateSettings(),
            "judging": JudgingSettings(), "checks": CheckSettings(), "tune": TuneSettings(),
        }  # fmt: skip
        homes = {each.name: part for part, one in parts.items() for each in fields(one)}  # type: ignore[arg-type]
        if unknown := [name for name in options if name not in homes]:
            like = difflib.get_close_matches(unknown[0], homes, 1)
            hint = f" Did you mean {like[0]}?" if like else f" There are: {', '.join(homes)}."
            raise SettingsError(f"There is no option «{unknown[0]}» of a run.{hint}")
        for part, one in parts.items():
            own = {name: value for name, value in options.items() if homes[name] == part}
            parts[part] = with_options(type(one), one, own)
        return cls(model=model, couple=couple, exclude=exclude or {}, **parts)  # type: ignore[arg-type]

    @property
    def evaluate(self) -> EvaluateSettings:
        """How the model is evaluated before and after: with the seed and the format of scoring."""
        raw = self.score.prompt_format.startswith("raw")
        return EvaluateSettings(
            **asdict(self.judging),
            prompt_format="raw" if raw else None,
            max_length=self.score.max_length,
            seed=self.score.seed,
        )


def demo_settings() -> RunSettings:
    """The demo: sized for ten minutes on two cores.

    The paper's ratio of 5e-7 would select nothing in matrices this small.
    """
    return RunSettings(
        model="demo",
        couple={"fairness": "bundled:fairness", "privacy": "bundled:privacy"},
        exclude={"general": "bundled:general"},
        score=ScoreSettings(num_samples=48),
        locate=LocateSettings(ratio=1e-5),
        judging=JudgingSettings(limit=50, max_new_tokens=40, batch_size=50),
    )
