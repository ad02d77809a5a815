"""What scoring would do with a model and data, found out without scoring."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from declutch.data.encoding import EncodedDimension, EncodedExample, Encoder, encode_all
from declutch.data.loading import load_examples
from declutch.errors import ModelError, OutOfMemory
from declutch.locating import important
from declutch.models.forward import collate, example_losses, input_device
from declutch.models.loading import LoadedModel, load_model
from declutch.models.matrices import Coverage, find_matrices, total_parameters
from declutch.models.probes import must_be_alone
from declutch.scoring.accumulate import Accumulation
from declutch.scoring.memory import PassPlan, make_plan
from declutch.scoring.methods.importance import Importance
from declutch.settings import EncodingSettings, ModelSettings


@dataclass(frozen=True)
class ShownExample:
    """An example's tokens, and which of them the loss counts."""

    id: str
    tokens: tuple[str, ...]
    counted: tuple[bool, ...]


@dataclass(frozen=True)
class DimensionView:
    """What is known of a dimension before scoring."""

    name: str
    report: tuple[str, ...]
    examples: int
    tokens: int
    counted: int
    shown: tuple[ShownExample, ...]


@dataclass(frozen=True)
class MatrixGroup:
    """Matrices of one kind and shape over the layers."""

    name: str
    kind: str
    shape: tuple[int, int]
    matrices: int
    k: int


@dataclass(frozen=True)
class Inspection:
    """All that ``declutch inspect`` shows."""

    model: str
    dtype: str
    parameters: int
    layers: int
    target: str
    ratio: float
    covered: int
    groups: tuple[MatrixGroup, ...]
    skipped: Mapping[str, int]
    prompt_format: str
    dimensions: tuple[DimensionView, ...] = ()
    plan: str = ""
    seconds: float | None = None
    notes: tuple[str, ...] = ()


def inspect_model(
    reference: str,
    options: ModelSettings,
    sources: Mapping[str, str],
    *,
    settings: EncodingSettings | None = None,
    ratio: float = 5e-7,
    show: int = 2,
) -> Inspection:
    """Look at a model and data: what is covered, how examples are encoded, what scoring costs.

    Raises:
        DeclutchError: the model, the data or an option is wrong.
    """
    chosen = settings or EncodingSettings()
    loaded = load_model(reference, options)
    coverage = find_matrices(loaded.model, chosen.target_modules)
    encoder = Encoder(loaded.tokenizer, chosen.prompt_format, chosen.max_length)
    views, encoded = [], []
    for name, source in sources.items():
        data = load_examples(
            source, num_samples=chosen.num_samples, seed=chosen.seed,
            allow_fewer=chosen.allow_fewer,
        )  # fmt: skip
        dimension = encode_all(encoder, data.examples, name, allow_fewer=chosen.allow_fewer)
        ids = [example.id for example in data.examples if example.id not in dimension.too_long]
        encoded.append(dimension)
        views.append(
            DimensionView(
                name=name,
                report=tuple(data.report.lines(dimension.too_long)),
                examples=len(dimension.examples),
                tokens=dimension.tokens,
                counted=sum(example.counted for example in dimension.examples),
                shown=tuple(
                    _shown(loaded, one_id, one)
                    for one_id, one in zip(ids[:show], dimension.examples[:show], strict=True)
                ),
            )
        )
    plan, seconds, notes = _cost(loaded, coverage, encoded)
    return Inspection(
        model=loaded.info.id,
        dtype=loaded.info.dtype,
        parameters=total_parameters(loaded.model),
        layers=coverage.layers,
        target=coverage.target,
        ratio=ratio,
        covered=coverage.numel,
        groups=_groups(coverage, ratio),
        skipped=_skipped(coverage),
        prompt_format=encoder.prompt_format,
        dimensions=tuple(views),
        plan=plan.sentence() if plan else "",
        seconds=seconds,
        notes=notes,
    )


def _shown(loaded: LoadedModel, name: str, example: EncodedExample) -> ShownExample:
    tokens = tuple(str(loaded.tokenizer.decode([token])) for token in example.input_ids)
    return ShownExample(name, tokens, example.loss_mask)


def _groups(coverage: Coverage, ratio: float) -> tuple[MatrixGroup, ...]:
    counts = Counter(
        (matrix.name.rpartition(".")[2].partition("[")[0], matrix.kind, matrix.shape)
        for matrix in coverage.matrices
    )
    return tuple(
        MatrixGroup(name, kind, shape, count, important(shape[0] * shape[1], ratio))
        for (name, kind, shape), count in counts.items()
    )


def _skipped(coverage: Coverage) -> dict[str, int]:
    """Parameters that are not covered, by last names and reason."""
    counts: Counter[str] = Counter()
    for entry in coverage.skipped:
        parts = entry.parameter.partition("[")[0].split(".")
        name = ".".join(parts[-2:]) if parts[-1] in ("weight", "bias") else parts[-1]
        counts[f"{name}: {entry.reason}"] += 1
    return dict(counts)


def _cost(
    loaded: LoadedModel, coverage: Coverage, encoded: list[EncodedDimension]
) -> tuple[PassPlan | None, float | None, tuple[str, ...]]:
    """The memory plan, and the time by a trial on one example of middle length."""
    examples = sorted((one for each in encoded for one in each.examples), key=len)
    if not examples:
        return None, None, ("Give --data NAME=SOURCE for tokens and an estimate.",)
    method = Importance()
    try:
        alone = must_be_alone(loaded.model, [one.input_ids for one in examples])
        plan = make_plan(loaded.model, method, coverage.matrices, examples)
    except (ModelError, OutOfMemory) as error:
        return None, None, (str(error),)
    middle = examples[len(examples) // 2]
    count = 1 if alone else max(1, min(plan.batch_tokens // len(middle), 4))
    trial = Accumulation(loaded.model, method, plan.groups[0], [middle] * count, plan.batch_tokens)
    # A first pass, which is slower than those that follow, is not timed.
    example_losses(loaded.model, collate([middle], input_device(loaded.model)))
    started = time.monotonic()
    trial.run()
    per_token = (time.monotonic() - started) / (count * len(middle))
    seconds = per_token * sum(len(one) for one in examples) * len(plan.groups)
    return plan, seconds, ()
