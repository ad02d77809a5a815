"""``declutch evaluate``: one model, with or without a patch, on one suite or several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from declutch.cli.options import A_PATH, EngineFlags, ModelArgument, Out, OutputFlags
from declutch.settings import EVALUATION, GUARDS, CheckSettings, EvaluateSettings, ModelSettings


def evaluate(
    model: ModelArgument,
    /,
    *,
    output: Out,
    patch: Annotated[
        Path | None,
        A_PATH,
        Parameter(group=EVALUATION, help="Folder of a patch, applied in memory for the time."),
    ] = None,
    evaluation: EvaluateSettings = EvaluateSettings(),
    engine: EngineFlags = EngineFlags(),
    baseline: Annotated[
        Path | None,
        A_PATH,
        Parameter(group=GUARDS, help="Results that guards compare with, and the comparison shown."),
    ] = None,
    checks: CheckSettings = CheckSettings(),
    load: ModelSettings = ModelSettings(),
    say: OutputFlags = OutputFlags(),
) -> int:
    """Evaluate a model: awareness, over-refusal, preference margin, perplexity, capability.

    The same command on the same RESULTS goes on where it stopped. Exits with 1 where a guard does
    not hold.
    """
    say.start()
    from declutch.cli._evaluating import EvaluateJob
    from declutch.cli._evidence import print_evaluation
    from declutch.evaluating.checking import guard_results, prepare_guards

    asked = prepare_guards(checks.guard, baseline)
    job = EvaluateJob(model, output, patch, evaluation, engine, load, asked)
    results, comparison = guard_results(
        job.run(), output, asked, baseline, checks.guard_mode, evaluation.seed, evaluation.measure
    )
    print_evaluation(results, comparison, output, as_json=say.json)
    return int(any(not guard.held for guard in results.guards))
