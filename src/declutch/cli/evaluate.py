"""``declutch evaluate``: one model, with or without a patch, on one suite or several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from declutch.cli._convert import evaluate_settings, model_options
from declutch.cli.options import (
    DATA,
    EVALUATION,
    EvaluateFlags,
    ModelArgument,
    ModelFlags,
    Out,
    OutputFlags,
)


def evaluate(
    model: ModelArgument,
    /,
    *,
    patch: Annotated[
        Path | None,
        Parameter(group=EVALUATION, help="Folder of a patch, applied in memory for the time."),
    ] = None,
    output: Out,
    prompt_format: Annotated[
        Literal["auto", "chat", "raw"],
        Parameter(group=DATA, help="auto: chat where the tokenizer has a template."),
    ] = "auto",
    seed: Annotated[int, Parameter(group=EVALUATION, help="Of the bootstrap intervals.")] = 0,
    load: ModelFlags = ModelFlags(),
    evaluation: EvaluateFlags = EvaluateFlags(),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Evaluate a model: awareness and over-refusal, preference margin, perplexity.

    The same command on the same RESULTS goes on where it stopped.
    """
    say.start()
    from declutch.cli._evidence import print_results
    from declutch.cli.printing import print_json
    from declutch.evaluation.evaluate import evaluate as evaluate_model
    from declutch.models.loading import load_model

    chosen = evaluate_settings(evaluation)
    loaded = load_model(model, model_options(load))
    results = evaluate_model(
        loaded.model,
        loaded.tokenizer,
        chosen.suite,
        judges=chosen.judge,
        out=output,
        batch_size=chosen.batch_size,
        max_new_tokens=chosen.max_new_tokens,
        limit=chosen.limit,
        prompt_format=prompt_format,
        seed=seed,
        patch=patch,
        info=loaded.info,
    )
    if say.json:
        print_json(results.model_dump(mode="json"))
    else:
        print_results(results, output)
