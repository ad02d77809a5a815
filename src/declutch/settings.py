"""Every setting, once: the library, the command line, YAML files and ``run.json`` read these.

A class is a frozen dataclass. A field's annotation says its range and its group in ``--help``, and
the text below it is its help. Nothing heavy is imported here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any, Literal, TypeVar

from cyclopts import Group, Parameter, Token

from declutch.errors import SettingsError
from declutch.ranges import (
    Count,
    CountOrZero,
    Factor,
    Fraction,
    Length,
    Minutes,
    Positive,
    Scale,
    Seed,
    Share,
    Temperature,
    check_ranges,
)

MODEL, DATA, SCORING, SELECTION, TUNING, TRAINING, EVALUATION, GUARDS, OUTPUT, DANGEROUS = (
    Parameter(group=Group(title, sort_key=10 + number))
    for number, title in enumerate(
        ("Model", "Data", "Scoring", "Selection", "Tuning", "Training", "Evaluation", "Guards",
         "Output", "Dangerous")
    )
)  # fmt: skip

Dtype = Literal["auto", "checkpoint", "float32", "bfloat16", "float16"]
PromptFormat = Literal["auto", "chat", "raw", "raw-released"]
Scope = Literal["matrix", "layer", "model"]
Pairing = Literal["order", "length", "seeded"]
Mode = Literal["lenient", "strict"]
Control = Literal["rules", "random", "null"]
S = TypeVar("S", bound="Settings")


def _numbers(_: object, tokens: Sequence[Token]) -> tuple[int, ...]:
    """«16,32» as well as 16 and 32 one by one; what is no number is refused later, by name."""
    given = [number.strip() for token in tokens for number in token.value.split(",")]
    return tuple(int(number) if number.isdecimal() else number for number in given)  # type: ignore[misc]


NUMBERS = Parameter(converter=_numbers)


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
    _refuse_unknown(options, [each.name for each in fields(settings)], "here")  # type: ignore[arg-type]
    return replace(settings, **options)  # type: ignore[type-var]


def _refuse_unknown(options: Iterable[str], known: Sequence[str], where: str) -> None:
    for name in options:
        if name not in known:
            like = difflib.get_close_matches(name, known, 1)
            hint = f"Did you mean {like[0]}?" if like else f"There are: {', '.join(known)}."
            raise SettingsError(f"There is no option «{name}» {where}. {hint}")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ModelSettings(Settings):
    """How a model is loaded; names as in transformers."""

    dtype: Annotated[Dtype, MODEL] = "auto"
    """auto: the checkpoint's own on a GPU, float32 on a CPU."""
    device: Annotated[str | None, MODEL] = None
    """cpu, cuda, cuda:1 ..."""
    device_map: Annotated[str | None, MODEL] = None
    """auto: spread over all GPUs (accelerate)."""
    revision: Annotated[str | None, MODEL] = None
    """Branch, tag or commit on the hub."""
    trust_remote_code: Annotated[bool, DANGEROUS] = False
    """Run code that comes with the model."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SampleSettings(Settings):
    """Which examples are used, and how they become tokens."""

    num_samples: Annotated[Count, DATA] = 128
    """Examples of each dimension, sampled with the seed."""
    allow_fewer: Annotated[bool, DATA] = False
    """Use what is there when it is fewer."""
    seed: Annotated[Seed, DATA] = 0
    """Of every random choice."""
    max_length: Annotated[Length, DATA] = 1024
    """Most tokens of an example; responses are cut, never prompts."""
    prompt_format: Annotated[PromptFormat, DATA] = "auto"
    """auto: chat where the tokenizer has a template. raw-released: as the code published with the
    paper."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EncodingSettings(SampleSettings):
    """The same, and which matrices are meant."""

    target_modules: Annotated[str, SCORING] = "mlp"
    """mlp, attention, all, or a regular expression for module names."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ScoreSettings(EncodingSettings):
    """What decides the shortlists; the defaults are the paper's (arXiv 2410.16672, section 4)."""

    method: Annotated[str, SCORING] = "importance"
    """importance, wanda, sparsegpt, or FILE.py:NAME."""
    statistic: Annotated[Literal["abs", "signed"], SCORING] = "abs"
    """abs: mean |W·g| (the paper); signed: mean W·g."""
    contrast: Annotated[tuple[str, ...], SCORING] = ()
    """A dimension to score by good (+) against bad (-) responses to the same prompts;
    repeatable."""
    no_harmless: Annotated[bool, SCORING] = False
    """Beside contrasted dimensions, don't contrast harmless prompts as well."""
    all_tokens: Annotated[bool, SCORING] = False
    """wanda, sparsegpt: over prompt tokens as well."""
    shortlist: Annotated[Share, SCORING] = 1e-3
    """Fraction of each matrix that is kept on disk."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LocateSettings(Settings):
    """Which neurons are chosen, and what becomes of them; the defaults are the paper's."""

    ratio: Annotated[Share, SELECTION] = 5e-7
    """Fraction of a matrix taken as important (small models need 1e-5 or more)."""
    rule: Annotated[str, SELECTION] = "coupled"
    """coupled, released, single:NAME, union, contrast, balanced, random (the control), or
    FILE.py:NAME; of «run» also auto: the edit that a search finds (docs/tune.md)."""
    granularity: Annotated[Literal["weight", "neuron", "head", "expert"], SELECTION] = "weight"
    """weight (the paper's neuron), or whole units: neuron (of an MLP), head, expert."""
    scope: Annotated[Scope, SELECTION] = "matrix"
    """What the ratio is a fraction of."""
    scale: Annotated[Scale, SELECTION] = 0.0
    """What the chosen weights are multiplied by."""
    weights: Annotated[Count | None, SELECTION] = None
    """balanced: the most weights [default: as many as coupled takes]."""
    budget: Annotated[Positive | None, SELECTION] = None
    """balanced: importance for each excluded dimension, in units of what coupled spends at the
    same ratio [default: 1]."""
    harmless_weight: Annotated[Scale | None, SELECTION] = None
    """balanced: the share of the smallest gain that answering harmless prompts must gain
    [default: 0]."""


RULE_OPTIONS = ("weights", "budget", "harmless_weight")  # only some rules take them


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class JudgingSettings(Settings):
    """What a model is evaluated on and by; what an evaluation shares with scoring is apart."""

    suite: Annotated[tuple[str, ...], EVALUATION] = ("bundled",)
    """bundled, salad, donotanswer[:PATH], or DIMENSION=SOURCE of prompts of your own
    (harmless:DIMENSION=SOURCE for harmless ones); repeatable."""
    judge: Annotated[tuple[str, ...], EVALUATION] = ("heuristic",)
    """heuristic (offline), embedding:FOLDER, qwen3guard, ... with options after «:»
    (docs/judges.md), or FILE.py:NAME; repeatable."""
    measure: Annotated[tuple[str, ...], EVALUATION] = ()
    """A measure beside the usual ones, as FILE.py:NAME; repeatable."""
    batch_size: Annotated[Count, EVALUATION] = 32
    """Replies at a time."""
    limit: Annotated[Count | None, EVALUATION] = None
    """Only the first so many prompts of each set."""
    preset: Annotated[Literal["chat", "paper"], EVALUATION] = "chat"
    """chat: the tokenizer's template, greedy, 128 new tokens. paper: no template, 64 new tokens, as
    the paper evaluates."""
    max_new_tokens: Annotated[Count | None, EVALUATION] = None
    """Most tokens of a reply [default: the preset's]."""
    lengths: Annotated[tuple[Count, ...], EVALUATION, NUMBERS] = ()
    """Judge the same replies cut after so many tokens too, as 16,32,64,128."""
    temperature: Annotated[Temperature | None, EVALUATION] = None
    """Above 0: sample [default: 0, greedy]."""
    top_p: Annotated[Share | None, EVALUATION] = None
    """Sample from the likeliest tokens of this probability."""
    num_replies: Annotated[Count, EVALUATION] = 1
    """Replies sampled for each prompt, a cluster; above 1 it needs a temperature."""
    thinking: Annotated[bool | None, EVALUATION, Parameter(negative="--no-thinking")] = None
    """Of templates that know a thinking mode [default: off]."""
    capability: Annotated[tuple[str, ...], EVALUATION] = ()
    """A capability task, as hellaswag, or paper-capability for the paper's nine; repeatable."""
    capability_limit: Annotated[Count | None, EVALUATION] = None
    """Items of each task [default: as --limit]."""
    dependence: Annotated[Pairing | None, EVALUATION] = None
    """Measure the dependence of two dimensions' representations by layer, with prompts paired in
    this way."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(JudgingSettings):
    """How a model is evaluated."""

    prompt_format: Annotated[Literal["auto", "chat", "raw"] | None, EVALUATION] = None
    """auto: chat where there is a template."""
    max_length: Annotated[Length, EVALUATION] = 1024
    """Most tokens of a pair or a passage."""
    seed: Annotated[Seed, EVALUATION] = 0
    """Of sampled replies and of bootstrap intervals."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CheckSettings(Settings):
    """What must hold; see docs/guards.md."""

    guard: Annotated[tuple[str, ...], GUARDS] = ()
    """Exit with 1 where it does not hold: 'perplexity<=1.02x', 'fairness>=baseline',
    'over_refusal<=baseline+0.05'; repeatable."""
    guard_mode: Annotated[Mode, GUARDS] = "lenient"
    """lenient: fails where the 95 % interval speaks against it; strict: holds only where the
    interval shows it."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StabilitySettings(Settings):
    """On how many samples of its data a run is made."""

    calibration_seeds: Annotated[Count, DATA] = 1
    """Samples of the data: the seed's and those of the next seeds. Above 1 the run is repeated on
    each, in OUT/seeds, and tells how far weights and outcome depend on the sample."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TuneSettings(Settings):
    """How long an edit is searched for, and what it may cost; see docs/tune.md."""

    minutes: Annotated[Minutes | None, TUNING] = 10
    """How long candidates are tried."""
    trials: Annotated[Count | None, TUNING] = None
    """How many candidates are tried at most."""
    survivors: Annotated[Count, TUNING] = 6
    """How many candidates reply to tuning prompts."""
    max_perplexity: Annotated[Factor, TUNING] = 1.01
    """What perplexity may become, as a multiple of the original's."""
    tuning_share: Annotated[Share, TUNING] = 0.5
    """Share of prompts to search on; the others prove the winner."""
    tuning_limit: Annotated[Count | None, TUNING] = 40
    """Tuning prompts of each set that survivors reply to."""
    tuning_tokens: Annotated[Count, TUNING] = 40
    """Most tokens of those replies."""
    quick_items: Annotated[Count, TUNING] = 8
    """Pairs, passages and prompts of each set that every candidate is tried on."""
    controls: Annotated[tuple[Control, ...], TUNING] = ("rules", "random", "null")
    """What the proof shows beside the winner: the best of the other rules, as many weights at
    random, the winner's weights as they are; repeatable."""
    rounds: Annotated[Count, TUNING] = 1
    """Searches in a row: before each but the first, the best edit that costs its part of what
    perplexity may become is applied, and what is left is scored again at the candidates alone."""
    processes: Annotated[Count, TUNING] = 1
    """How many processes try candidates."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrainSettings(SampleSettings):
    """How a model is trained; see docs/training.md. Nothing given is the method's own default."""

    method: Annotated[str, TRAINING] = "lora"
    """full, lora, dora, loreft, or FILE.py:NAME."""
    share: Annotated[tuple[str, ...], DATA] = ()
    """NAME=SHARE of a dimension in all examples, as fairness=0.5; repeatable."""
    epochs: Annotated[Positive, TRAINING] = 3.0
    """How often each example is seen."""
    steps: Annotated[Count | None, TRAINING] = None
    """Optimizer steps, in place of epochs."""
    learning_rate: Annotated[Positive | None, TRAINING] = None
    """At its highest [default: full 1e-5, lora and dora 2e-4, loreft 9e-4]."""
    batch_size: Annotated[Count, TRAINING] = 8
    """Examples at a time, of each process."""
    accumulation: Annotated[Count, TRAINING] = 1
    """Batches of each step."""
    weight_decay: Annotated[Fraction, TRAINING] = 0.0
    """Of AdamW."""
    warmup: Annotated[Fraction, TRAINING] = 0.03
    """Share of the steps in which the learning rate rises."""
    bf16: Annotated[bool, TRAINING] = False
    """Compute in bfloat16, whatever the weights are in."""
    rank: Annotated[Count | None, TRAINING] = None
    """lora, dora [default: 8], loreft [default: 4]."""
    alpha: Annotated[Positive | None, TRAINING] = None
    """lora, dora: the change is multiplied by alpha / rank [default: 16]."""
    dropout: Annotated[Fraction | None, TRAINING] = None
    """lora, dora, loreft: share of inputs left out while training [default: 0]."""
    target_modules: Annotated[str | None, TRAINING] = None
    """lora, dora: mlp, attention, all, or a regular expression [default: all]."""
    layers: Annotated[tuple[CountOrZero, ...], TRAINING, NUMBERS] = ()
    """loreft: after which decoder blocks, as 3,9,18 [default: all]."""
    first: Annotated[CountOrZero | None, TRAINING] = None
    """loreft: how many of a prompt's first tokens [default: 5]."""
    last: Annotated[CountOrZero | None, TRAINING] = None
    """loreft: how many of a prompt's last tokens [default: 5]."""
    save_steps: Annotated[Count | None, TRAINING] = None
    """Steps between checkpoints to go on from [default: an epoch]."""
    merge: Annotated[bool, TRAINING] = False
    """lora, dora: write the merged checkpoint too."""
    protect_value: Annotated[Literal["keep", "zero"], TRAINING] = "keep"
    """What protected weights are held at."""
    protect_ratio: Annotated[Share | None, TRAINING] = None
    """Protect what is coupled at this ratio, located first of --couple and --exclude."""


PARTS: Mapping[str, Any] = {
    "load": ModelSettings,
    "score": ScoreSettings,
    "locate": LocateSettings,
    "judging": JudgingSettings,
    "checks": CheckSettings,
    "stability": StabilitySettings,
    "tune": TuneSettings,
}
"""Of the settings of a run, by their names there."""


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
    stability: StabilitySettings = field(default_factory=StabilitySettings)
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
        homes = {each.name: part for part, kind in PARTS.items() for each in fields(kind)}
        _refuse_unknown(options, list(homes), "of a run")
        parts: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
        for name, value in options.items():
            parts[homes[name]][name] = value
        made = {part: PARTS[part](**own) for part, own in parts.items()}
        return cls(model=model, couple=couple, exclude=exclude or {}, **made)

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
