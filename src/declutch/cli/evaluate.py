"""``declutch evaluate``: one model, with or without a patch, on one suite or several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from declutch.cli.options import (
    A_PATH,
    EVALUATION,
    GUARDS,
    DecodingFlags,
    EngineFlags,
    EvaluateFlags,
    GuardFlags,
    ModelArgument,
    ModelFlags,
    Out,
    OutputFlags,
)
from declutch.ranges import Count


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
    evaluation: EvaluateFlags = EvaluateFlags(),
    decoding: DecodingFlags = DecodingFlags(),
    capability: Annotated[
        tuple[str, ...],
        Parameter(
            group=EVALUATION,
            negative="",
            consume_multiple=False,
            help="A capability task, as hellaswag, or paper-capability for the paper's nine; "
            "repeatable.",
        ),
    ] = (),
    capability_limit: Annotated[
        Count | None,
        Parameter(group=EVALUATION, help="Items of each task [default: as --limit]."),
    ] = None,
    dependence: Annotated[
        Literal["order", "length", "seeded"] | None,
        Parameter(
            group=EVALUATION,
            help="Measure the dependence of two dimensions' representations by layer, with "
            "prompts paired in this way.",
        ),
    ] = None,
    engine: EngineFlags = EngineFlags(),
    baseline: Annotated[
        Path | None,
        A_PATH,
        Parameter(group=GUARDS, help="Results that guards compare with, and the comparison shown."),
    ] = None,
    guards: GuardFlags = GuardFlags(),
    load: ModelFlags = ModelFlags(),
    say: OutputFlags = OutputFlags(),
) -> int:
    """Evaluate a model: awareness, over-refusal, preference margin, perplexity, capability.

    The same command on the same RESULTS goes on where it stopped. Exits with 1 where a guard does
    not hold.
    """
    say.start()
    from declutch.cli._evaluating import Request
    from declutch.cli._evidence import print_evaluation
    from declutch.comparing.checking import guard_results, prepare_guards

    asked = prepare_guards(guards.guard, baseline)
    request = Request(
        model=model,
        output=output,
        patch=patch,
        evaluation=evaluation,
        decoding=decoding,
        capability=capability,
        capability_limit=capability_limit,
        dependence=dependence,
        engine=engine,
        load=load,
        guards=asked,
    )
    results, comparison = guard_results(
        request.run(), output, asked, baseline, guards.guard_mode, decoding.seed
    )
    print_evaluation(results, comparison, output, as_json=say.json)
    return int(any(not guard.held for guard in results.guards))
