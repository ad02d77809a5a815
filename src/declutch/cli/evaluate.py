"""``declutch evaluate``: one model, with or without a patch, on one suite or several."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from declutch.cli.options import A_PATH, EngineFlags, ModelArgument, Out, OutputFlags
from declutch.errors import SettingsError
from declutch.settings import EVALUATION, GUARDS, CheckSettings, EvaluateSettings, ModelSettings

if TYPE_CHECKING:
    from declutch.comparing.results import ModelRecord, Results
    from declutch.evaluating.again import Run
    from declutch.evaluating.plan import Plan
    from declutch.replies.decoding import Decoding
    from declutch.replies.served_engines import ServerEngine, VllmEngine


def evaluate(
    model: ModelArgument,
    /,
    *,
    output: Out,
    patch: Annotated[Path | None, A_PATH, EVALUATION] = None,
    adapter: Annotated[Path | None, A_PATH, EVALUATION] = None,
    twice: Annotated[bool, EVALUATION, Parameter(negative="")] = False,
    evaluation: EvaluateSettings = EvaluateSettings(),
    engine: EngineFlags = EngineFlags(),
    baseline: Annotated[Path | None, A_PATH, GUARDS] = None,
    checks: CheckSettings = CheckSettings(),
    load: ModelSettings = ModelSettings(),
    say: OutputFlags = OutputFlags(),
) -> int:
    """Evaluate a model: awareness, over-refusal, preference margin, perplexity, capability.

    The same command on the same RESULTS goes on where it stopped. Exits with 1 where a guard does
    not hold.

    Args:
        patch: Folder of a patch, applied in memory for the time.
        adapter: Folder that «declutch train» wrote, or an adapter in PEFT's format.
        twice: Evaluate again into RESULTS/again, in another order and batch size and (sampled) with
            another seed, and print what noise alone does.
        baseline: Results that guards compare with, and the comparison shown.
    """
    say.start()
    from declutch.cli.printing import print_evaluation
    from declutch.evaluating.again import twice as evaluate_twice
    from declutch.evaluating.again import with_weights
    from declutch.evaluating.checking import check_guard_names, guard_results, prepare_guards
    from declutch.evaluating.plan import decoding_from, make_plan
    from declutch.models.loading import load_model
    from declutch.training.adapters import with_adapter

    asked = prepare_guards(checks.guard, baseline)
    _check_engine(engine, patch, adapter)
    if engine.engine == "transformers":
        plan = make_plan(evaluation)
        check_guard_names(asked, plan)
        loaded = load_model(model, load)
        if adapter is not None:
            loaded = with_adapter(loaded, adapter)
        run: Run = partial(
            with_weights, loaded.model, loaded.tokenizer, patch=patch, model_info=loaded.info
        )
    else:
        plan = make_plan(evaluation, weights=False)
        check_guard_names(asked, replace(plan, suite=plan.suite.prompts_alone()))
        run = partial(
            _replies_alone,
            *(
                _server(model, evaluation, engine)
                if engine.engine == "server"
                else _vllm(model, evaluation, load)
            ),
        )
    again = evaluate_twice(run, plan, output) if twice else None
    results = again.before if again else run(plan, decoding_from(plan.settings), output)
    results, comparison = guard_results(
        results, output, asked, baseline, checks.guard_mode, evaluation.seed, evaluation.measure
    )
    print_evaluation(results, comparison, output, again, as_json=say.json)
    return int(any(not guard.held for guard in results.guards))


def _check_engine(flags: EngineFlags, patch: Path | None, adapter: Path | None) -> None:
    name = flags.engine
    if name != "server" and (flags.url or flags.api_key_env):
        raise SettingsError("--url and --api-key-env are for --engine server.")
    if name != "transformers" and patch is not None:
        raise SettingsError(
            f"--patch needs the model's weights, and --engine {name} does not show them. Write a "
            f"patched checkpoint first: declutch apply MODEL {patch} -o DIR, and evaluate that."
        )
    if name != "transformers" and adapter is not None:
        raise SettingsError(
            f"--adapter goes into the model's weights, and --engine {name} does not show them. "
            "Write the merged checkpoint (declutch train ... --merge), and evaluate that."
        )


def _replies_alone(
    engine: ServerEngine | VllmEngine,
    model: str | ModelRecord,
    plan: Plan,
    decoding: Decoding,
    out: Path,
) -> Results:
    from declutch.evaluating.evaluate import evaluate_engine

    engine.decoding = replace(engine.decoding, seed=decoding.seed)
    return evaluate_engine(
        engine, plan.suite, model=model, judges=plan.judges, settings=plan.settings, out=out
    )


def _server(model: str, how: EvaluateSettings, flags: EngineFlags) -> tuple[ServerEngine, str]:
    from declutch.evaluating.plan import decoding_from
    from declutch.replies.openai_client import OpenAIClient
    from declutch.replies.served_engines import ServerEngine

    if not flags.url:
        raise SettingsError(
            "--engine server needs --url, as http://localhost:8000/v1, and MODEL is the name "
            "under which that server knows its model."
        )
    key = os.environ.get(flags.api_key_env) if flags.api_key_env else None
    if flags.api_key_env and not key:
        raise SettingsError(f"--api-key-env {flags.api_key_env}: that variable is not set.")
    client = OpenAIClient(
        flags.url, model, key, timeout=flags.timeout, concurrency=flags.concurrency
    )
    return ServerEngine(client, decoding_from(how)), model


def _vllm(model: str, how: EvaluateSettings, load: ModelSettings) -> tuple[VllmEngine, ModelRecord]:
    from declutch.comparing.results import ModelRecord
    from declutch.evaluating.evaluate import NOT_READ
    from declutch.evaluating.plan import decoding_from
    from declutch.replies.served_engines import VllmEngine

    if load.device or load.device_map:
        raise SettingsError(
            "--device and --device-map are not for --engine vllm: it takes the GPUs that "
            "CUDA_VISIBLE_DEVICES names."
        )
    dtype = "auto" if load.dtype == "checkpoint" else load.dtype
    engine = VllmEngine(
        model, decoding_from(how), dtype=dtype, revision=load.revision,
        trust_remote_code=load.trust_remote_code,
    )  # fmt: skip
    return engine, ModelRecord(id=model, revision=load.revision, fingerprint=NOT_READ, dtype=dtype)
