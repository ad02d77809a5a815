"""``declutch run``: the whole job on a model and data of the user's."""

from __future__ import annotations

from typing import Annotated

from declutch.cli.options import (
    CheckpointInterval,
    MemoryLimit,
    ModelArgument,
    Out,
    OutputFlags,
    memory_bytes,
    named_sources,
)
from declutch.settings import (
    DATA,
    CheckSettings,
    JudgingSettings,
    LocateSettings,
    ModelSettings,
    RunSettings,
    ScoreSettings,
)


def run(
    model: ModelArgument,
    /,
    *,
    couple: Annotated[list[str], DATA],
    exclude: Annotated[list[str], DATA] = [],  # noqa: B006 (read only)
    output: Out,
    memory_limit: MemoryLimit = None,
    checkpoint_interval: CheckpointInterval = 300.0,
    load: ModelSettings = ModelSettings(),
    scoring: ScoreSettings = ScoreSettings(),
    selection: LocateSettings = LocateSettings(),
    judging: JudgingSettings = JudgingSettings(),
    checks: CheckSettings = CheckSettings(),
    say: OutputFlags = OutputFlags(),
) -> int:
    """Score, locate, evaluate, apply, evaluate again, and report.

    OUT gets scores, patch, model (the patched checkpoint), before, after, report.html and
    figures. The same command on the same OUT goes on where it stopped. Guards compare with the
    model as it was; exits with 1 where one does not hold.

    Args:
        couple: NAME=SOURCE of a coupled dimension; give two or more. SOURCE is a file (.csv,
            .json, .jsonl, .parquet), hub:OWNER/NAME or bundled:NAME, with options after «?»
            (split=, prompt=, response=, where=column=value).
        exclude: NAME=SOURCE of a dimension whose important neurons are left alone.
    """
    say.start()
    from declutch.cli.printing import print_run
    from declutch.pipeline import run as run_pipeline

    settings = RunSettings(
        model=model,
        couple=named_sources(couple, "--couple"),
        exclude=named_sources(exclude, "--exclude"),
        load=load,
        score=scoring,
        locate=selection,
        judging=judging,
        checks=checks,
    )
    paths = run_pipeline(
        settings,
        out=output,
        memory_limit=memory_bytes(memory_limit),
        checkpoint_interval=checkpoint_interval,
    )
    print_run(paths, output, as_json=say.json)
    return int(any(not check.held for check in paths.input.comparison.checks))
