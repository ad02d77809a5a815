"""Score dimensions: from examples and a model to shortlists."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from declutch.data.dimension import DataLike, LoadedDimension
from declutch.data.encoding import (
    tokens_sha256,
)
from declutch.data.names import CONTROL, check_data_by_name, dimension_of
from declutch.errors import SettingsError
from declutch.locks import locked
from declutch.models.forward import evaluation_mode
from declutch.models.identity import ModelInfo, describe
from declutch.models.matrices import Coverage, WeightMatrix
from declutch.progress import log
from declutch.ranges import Seconds, checked
from declutch.records import differences
from declutch.scoring.dimension import score_dimension
from declutch.scoring.distributed import Team, session
from declutch.scoring.memory import PassPlan, hold_no_freed_memory
from declutch.scoring.method import EntryMethod
from declutch.scoring.partial import Partial, read_plan, write_plan
from declutch.scoring.prepare import Encoded, prepare
from declutch.scoring.shortlists import (
    Candidates,
    DimensionInfo,
    Scores,
    ScoresInfo,
    Shortlist,
    control_shortlist,
    read_info,
)
from declutch.settings import ScoreSettings, with_options
from declutch.versions import versions


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
        settings: how; and fields of it as keywords (``target_modules="mlp"``), which win.
        memory_limit: bytes that scoring may use beyond the loaded model.
        batch_tokens: padded tokens in a batch, in place of the planned number.
        checkpoint_interval: seconds between checkpoints of a dimension's partial sums.
        out: a folder. Each dimension is written there as it finishes; dimensions found there,
            and partial sums, are not computed again.
        model_info: where the model came from; found out when not given.

    Under ``torchrun`` every process calls this alike: they share the examples, the first one
    writes, and all return the same.

    Raises:
        SettingsError: ``out`` holds scores made with other settings, or another process writes
            there.
        DataError, ModelError, OutOfMemory: see the modules named ``data``, ``models``, ``memory``.
        DeclutchError: another process has ended.
    """
    settings = with_options(ScoreSettings, settings, options)
    memory_limit = checked("memory_limit", int | None, memory_limit)
    checkpoint_interval = checked("checkpoint_interval", Seconds, checkpoint_interval)
    check_data_by_name(data)
    if not data:
        raise SettingsError("Give the data of at least one dimension.")
    with session() as team, evaluation_mode(model), ExitStack() as held:
        team.look_at(model)
        return _score(
            model, tokenizer, data, settings, memory_limit, batch_tokens, checkpoint_interval,
            Path(out) if out else None, model_info, team, held,
        )  # fmt: skip


def _score(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    data: Mapping[str, DataLike],
    settings: ScoreSettings,
    memory_limit: int | None,
    batch_tokens: int | None,
    checkpoint_interval: float,
    out: Path | None,
    model_info: ModelInfo | None,
    team: Team,
    held: ExitStack,
) -> Scores:
    kinds, methods, coverage, encoder, loaded, encoded = prepared = prepare(
        model, tokenizer, data, settings
    )
    # Which dimensions are contrasted is a fact of each of them, not of all.
    shared = {k: v for k, v in asdict(settings).items() if k not in ("contrast", "no_harmless")}
    info = ScoresInfo(
        model=model_info or describe(model),
        settings={**shared, "prompt_format": encoder.prompt_format, **encoder.facts()},
        matrices=coverage.info(),
        versions=versions(),
    )
    _agree(team, info, loaded)
    facts = {
        key: _facts(loaded[dimension_of(key)], encoded[key], kind) for key, kind in kinds.items()
    }
    team.on_main(lambda: held.enter_context(locked(out)))
    scores = team.on_main(lambda: _continue(out, info, facts) if out else Scores(info))
    if CONTROL not in scores.shortlists:
        scores.shortlists[CONTROL] = _controls(model, coverage, settings)
    todo = [key for key in kinds if key not in scores.dimensions]
    entries = all(isinstance(method, EntryMethod) for method in methods.values())
    gather = "contrast" in kinds.values() and entries
    if not todo and not (gather and set(kinds) - set(scores.info.gathered)):
        return scores
    kept = out / "partial" if out else None
    job_key = {
        **_compared(info),
        "data": {key: [one.sha256, one.statistic] for key, one in facts.items()},
        "memory_limit": memory_limit,
        "batch_tokens": batch_tokens,
        "processes": team.size,
    }

    def plan_once() -> PassPlan:
        if record := read_plan(kept, job_key):
            return PassPlan.of_record(record, coverage.matrices)
        plan = prepared.plan(model, memory_limit, batch_tokens, team.local_size)
        write_plan(kept, job_key, plan.record())
        return plan

    if memory_limit is not None:
        hold_no_freed_memory()
    plan = team.on_main(plan_once)
    log.info("Plan: %s", plan.sentence())

    def done(key: str, at: Mapping[str, Tensor] | None) -> tuple[dict[str, Shortlist], float]:
        """One kind of scores, and the seconds that it took."""
        started = time.monotonic()
        job = prepared.job(key, model, plan, settings.shortlist, at)
        partial = Partial(kept, {**_compared(info), **job.key()}, checkpoint_interval)
        return score_dimension(job, team, partial), round(time.monotonic() - started, 3)

    def keep() -> None:
        """Write what is finished, and take away its partial sums."""
        if out:
            scores.save(out)
            Partial(kept, {}, 0).remove()

    for key in todo:
        shortlists, seconds = done(key, None)
        scores.add(key, facts[key].model_copy(update={"seconds": seconds}), shortlists)
        team.on_main(keep)
    if gather:
        union = scores.union()
        scores.candidates = scores.candidates or {m: Candidates(at) for m, at in union.items()}
        for key in kinds:
            if key not in scores.info.gathered:
                scores.add_gathered(key, *done(key, union))
                team.on_main(keep)
    if kept:
        team.on_main(lambda: shutil.rmtree(kept, ignore_errors=True))
    return scores


def _agree(team: Team, info: ScoresInfo, loaded: Mapping[str, LoadedDimension]) -> None:
    """All processes must have the same model, settings and data."""
    mine = {
        "model": info.model.fingerprint,
        "settings": info.settings,
        **{f"data of {name}": one.sha256 for name, one in loaded.items()},
    }
    for rank, theirs in enumerate(team.gather(mine)):
        if changed := list(differences(mine, theirs)):
            raise SettingsError(
                f"Processes {team.rank} and {rank} were not given the same: {'; '.join(changed)}. "
                "Start them all with the same command and files."
            )


def _controls(
    model: nn.Module, coverage: Coverage, settings: ScoreSettings
) -> dict[str, Shortlist]:
    parameters = dict(model.named_parameters(remove_duplicate=False))

    def control(matrix: WeightMatrix) -> Shortlist:
        weight = matrix.view(parameters[matrix.parameter])
        return control_shortlist(weight, settings.shortlist, settings.seed, matrix.name)

    return {matrix.name: control(matrix) for matrix in coverage.matrices}


def _facts(loaded: LoadedDimension, encoded: Encoded, statistic: str) -> DimensionInfo:
    """All that is known of a dimension before it is scored."""
    lost = encoded.dimension.too_long
    return DimensionInfo(
        source=loaded.source,
        sha256=loaded.sha256,
        examples=encoded.count,
        tokens=encoded.dimension.tokens,
        counted_tokens=sum(example.counted for example in encoded.examples),
        truncated=encoded.dimension.truncated,
        left_out=len(lost),
        tokens_sha256=tokens_sha256(encoded.examples),
        seconds=0,
        statistic=statistic,
        report=tuple(loaded.report.lines(lost)) if loaded.report else (),
    )


def _compared(info: ScoresInfo) -> dict[str, Any]:
    """What all dimensions of one folder have in common.

    Not whether fewer examples would have been allowed: those that were used are compared.
    """
    facts = {**info.settings, "model": info.model.fingerprint, "dtype": info.model.dtype}
    del facts["allow_fewer"]
    return facts


def _continue(out: Path, info: ScoresInfo, facts: Mapping[str, DimensionInfo]) -> Scores:
    """The finished dimensions in a folder, if they were made with the same settings."""
    if not (out / "scores.json").exists():
        return Scores(info)
    before = read_info(out)
    then, now = _compared(before), _compared(info)
    for name, one in facts.items():
        if found := before.dimensions.get(name):
            then[f"data of {name}"], now[f"data of {name}"] = found.sha256, one.sha256
            then[f"statistic of {name}"] = found.statistic
            now[f"statistic of {name}"] = one.statistic
            # The same data give other tokens with another tokenizer or chat template.
            then[f"tokens of {name}"] = found.tokens_sha256
            now[f"tokens of {name}"] = one.tokens_sha256
    if changed := list(differences(then, now)):
        raise SettingsError(
            f"{out} holds scores made with other settings: {'; '.join(changed)}. Give another "
            "output folder, or the same settings to go on with it."
        )
    log.info("Found in %s: %s", out, ", ".join(before.dimensions))
    return Scores.load(out)
