"""Score dimensions: from examples and a model to shortlists."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from declutch.data.encoding import EncodedDimension, Encoder, PromptFormat, encode_all
from declutch.data.example import Example
from declutch.data.loading import LoadedData, examples_sha256, load_examples
from declutch.data.sources import Source
from declutch.errors import SettingsError
from declutch.models.identity import MatrixInfo, ModelInfo, describe
from declutch.models.matrices import Coverage, WeightMatrix, find_matrices
from declutch.progress import progress_bar
from declutch.scoring.accumulate import Accumulation
from declutch.scoring.memory import Plan, make_plan
from declutch.scoring.methods import Method, get_method
from declutch.scoring.shortlists import (
    CONTROL,
    DimensionInfo,
    Scores,
    ScoresInfo,
    Shortlist,
    control_shortlist,
    differences,
    make_shortlist,
    read_info,
)
from declutch.versions import versions

log = logging.getLogger("declutch")

DataLike = LoadedData | Source | str | Path | Sequence[Example]


@dataclass(frozen=True)
class ScoreSettings:
    """What decides the shortlists; the defaults are the paper's (arXiv 2410.16672, section 4)."""

    target_modules: str = "mlp"
    method: str = "importance"
    statistic: str = "abs"
    num_samples: int = 128
    seed: int = 0
    max_length: int = 1024
    prompt_format: PromptFormat = "auto"
    shortlist: float = 1e-3
    allow_fewer: bool = False


def score(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    data: Mapping[str, DataLike],
    *,
    settings: ScoreSettings | None = None,
    memory_limit: int | None = None,
    batch_tokens: int | None = None,
    checkpoint_interval: float = 300.0,
    out: Path | str | None = None,
    model_info: ModelInfo | None = None,
    **options: Any,
) -> Scores:
    """Score every neuron of the targeted matrices on every dimension.

    Args:
        model: a transformers causal language model; it is left as it was.
        tokenizer: its tokenizer.
        data: for each dimension its examples, or where they are.
        settings: or give its fields as keywords (``target_modules="mlp"``, ``num_samples=128``).
        memory_limit: bytes that scoring may use beyond the loaded model.
        batch_tokens: padded tokens in a batch, in place of the planned number.
        checkpoint_interval: seconds between checkpoints of a dimension's partial sums.
        out: a folder. Each dimension is written there as it finishes; dimensions found there,
            and partial sums, are not computed again.
        model_info: where the model came from; found out when not given.

    Raises:
        SettingsError: ``out`` holds scores made with other settings.
        DataError, ModelError, OutOfMemory: see the modules named ``data``, ``models``, ``memory``.
    """
    settings = settings or ScoreSettings(**options)
    method = get_method(settings.method, settings.statistic)
    coverage = find_matrices(model, settings.target_modules)
    encoder = Encoder(tokenizer, settings.prompt_format, settings.max_length)
    loaded = {name: _load(value, settings) for name, value in data.items()}
    encoded = {name: encode_all(encoder, one.examples, name) for name, one in loaded.items()}
    info = ScoresInfo(
        model=model_info or describe(model),
        settings={**asdict(settings), "prompt_format": encoder.prompt_format},
        matrices={
            matrix.name: MatrixInfo(shape=matrix.shape, layer=matrix.layer, kind=matrix.kind)
            for matrix in coverage.matrices
        },
        versions=versions(),
    )
    scores = _continue(Path(out), info, loaded) if out else Scores(info)
    if CONTROL not in scores.shortlists:
        scores.shortlists[CONTROL] = _controls(model, coverage, settings)
    todo = [name for name in data if name not in scores.dimensions]
    if not todo:
        return scores
    longest = [example for name in todo for example in encoded[name].examples]
    plan = make_plan(model, method, coverage.matrices, longest, memory_limit, batch_tokens)
    log.info("Plan: %s", plan.sentence())
    for name in todo:
        started = time.monotonic()
        shortlists = _score_dimension(model, method, plan, name, encoded[name], settings)
        seconds = time.monotonic() - started
        scores.add(name, _dimension_info(loaded[name], encoded[name], seconds), shortlists)
        if out:
            scores.save(out)
    return scores


@dataclass(frozen=True)
class _Loaded:
    """The examples of a dimension and what is recorded of them."""

    examples: Sequence[Example]
    source: str
    sha256: str
    report: tuple[str, ...] = ()


def _load(value: DataLike, settings: ScoreSettings) -> _Loaded:
    if isinstance(value, (Source, str, Path)):
        value = load_examples(
            value,
            num_samples=settings.num_samples,
            seed=settings.seed,
            allow_fewer=settings.allow_fewer,
        )
    if isinstance(value, LoadedData):
        report = tuple(value.report.lines())
        return _Loaded(value.examples, str(value.source), value.sha256, report)
    return _Loaded(value, "memory", examples_sha256(value))


def _score_dimension(
    model: nn.Module,
    method: Method,
    plan: Plan,
    name: str,
    encoded: EncodedDimension,
    settings: ScoreSettings,
) -> dict[str, Shortlist]:
    shortlists: dict[str, Shortlist] = {}
    total = len(encoded.examples) * len(plan.groups)
    with progress_bar() as bar:
        task = bar.add_task(f"Scoring {name}", total=total)
        for group in plan.groups:
            sums = Accumulation(model, method, group, encoded.examples, plan.batch_tokens)
            sums.run(lambda count: bar.advance(task, count))
            for matrix in group:
                weight = matrix.view(sums.parameters[matrix.parameter].detach())
                state = sums.states.pop(matrix.name)
                values = method.scores(state, weight, len(encoded.examples))
                shortlists[matrix.name] = make_shortlist(values, weight, settings.shortlist)
    return shortlists


def _controls(
    model: nn.Module, coverage: Coverage, settings: ScoreSettings
) -> dict[str, Shortlist]:
    parameters = dict(model.named_parameters(remove_duplicate=False))

    def control(matrix: WeightMatrix) -> Shortlist:
        weight = matrix.view(parameters[matrix.parameter])
        return control_shortlist(weight, settings.shortlist, settings.seed, matrix.name)

    return {matrix.name: control(matrix) for matrix in coverage.matrices}


def _dimension_info(
    loaded: _Loaded, encoded: EncodedDimension, seconds: float
) -> DimensionInfo:
    return DimensionInfo(
        source=loaded.source,
        sha256=loaded.sha256,
        examples=len(encoded.examples),
        tokens=encoded.tokens,
        counted_tokens=sum(example.counted for example in encoded.examples),
        truncated=encoded.truncated,
        left_out=len(encoded.too_long),
        seconds=round(seconds, 3),
        report=loaded.report,
    )


def _continue(out: Path, info: ScoresInfo, loaded: Mapping[str, _Loaded]) -> Scores:
    """The finished dimensions in a folder, if they were made with the same settings."""
    if not (out / "scores.json").exists():
        return Scores(info)
    before = read_info(out)
    then = {**before.settings, "model": before.model.fingerprint}
    now = {**info.settings, "model": info.model.fingerprint}
    for name, one in loaded.items():
        if name in before.dimensions:
            then[f"data of {name}"] = before.dimensions[name].sha256
            now[f"data of {name}"] = one.sha256
    if changed := list(differences(then, now)):
        raise SettingsError(
            f"{out} holds scores made with other settings: {'; '.join(changed)}. Give another "
            "output folder, or the same settings to go on with it."
        )
    log.info("Found in %s: %s", out, ", ".join(before.dimensions))
    return Scores.load(out)
