"""``declutch run``: the whole job on a model and data of the user's."""

from __future__ import annotations

from declutch.cli._convert import (
    evaluate_settings,
    locate_settings,
    memory_bytes,
    model_options,
    score_settings,
)
from declutch.cli.options import (
    CheckpointInterval,
    Couple,
    EvaluateFlags,
    Exclude,
    LocateFlags,
    MemoryLimit,
    ModelArgument,
    ModelFlags,
    Out,
    OutputFlags,
    ScoreFlags,
    named_sources,
)


def run(
    model: ModelArgument,
    /,
    *,
    couple: Couple,
    exclude: Exclude = [],  # noqa: B006 (read only)
    output: Out,
    memory_limit: MemoryLimit = None,
    checkpoint_interval: CheckpointInterval = 300.0,
    load: ModelFlags = ModelFlags(),
    scoring: ScoreFlags = ScoreFlags(),
    selection: LocateFlags = LocateFlags(),
    evaluation: EvaluateFlags = EvaluateFlags(),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Score, locate, evaluate, apply, evaluate again, and report.

    OUT gets scores, patch, model (the patched checkpoint), before, after, report.html and
    figures. The same command on the same OUT goes on where it stopped.
    """
    say.start()
    from declutch.cli.printing import print_run
    from declutch.pipeline import RunSettings
    from declutch.pipeline import run as run_pipeline

    settings = RunSettings(
        model=model,
        couple=named_sources(couple, "--couple"),
        exclude=named_sources(exclude, "--exclude"),
        model_options=model_options(load),
        score=score_settings(scoring),
        locate=locate_settings(selection),
        evaluate=evaluate_settings(evaluation),
    )
    paths = run_pipeline(
        settings,
        output,
        memory_limit=memory_bytes(memory_limit),
        checkpoint_interval=checkpoint_interval,
    )
    print_run(paths, output, as_json=say.json)
