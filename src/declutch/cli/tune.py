"""``declutch tune``: search for an edit that helps, and prove it."""

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
    ModelSettings,
    RunSettings,
    ScoreSettings,
    TuneSettings,
)


def tune(
    model: ModelArgument,
    /,
    *,
    couple: Annotated[list[str], DATA],
    exclude: Annotated[list[str], DATA] = [],  # noqa: B006 (read only)
    output: Out,
    memory_limit: MemoryLimit = None,
    checkpoint_interval: CheckpointInterval = 300.0,
    tuning: TuneSettings = TuneSettings(),
    load: ModelSettings = ModelSettings(),
    scoring: ScoreSettings = ScoreSettings(),
    judging: JudgingSettings = JudgingSettings(),
    checks: CheckSettings = CheckSettings(),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Search rules, ratios, budgets and scales for an edit that helps; prove it, or say none does.

    Candidates are tried in memory by cheap true measures, survivors reply to tuning prompts, and
    the winner and its controls alone see the proof prompts. OUT gets scores, search.db, tuning,
    before, after, proof, patch (the winner's) and tune.json. The same command on the same OUT goes
    on where it stopped. Guards are what a winner must keep on the tuning prompts [default: no more
    over-refusal, no more empty or repeated replies].

    Args:
        couple: NAME=SOURCE of a coupled dimension; give two or more. See «declutch run --help».
        exclude: NAME=SOURCE of a dimension whose important neurons are left alone.
    """
    say.start()
    from declutch.cli.printing import print_tuned
    from declutch.pipeline import tune as tune_model

    settings = RunSettings(
        model=model,
        couple=named_sources(couple, "--couple"),
        exclude=named_sources(exclude, "--exclude"),
        load=load,
        score=scoring,
        judging=judging,
        checks=checks,
        tune=tuning,
    )
    found = tune_model(
        settings,
        out=output,
        memory_limit=memory_bytes(memory_limit),
        checkpoint_interval=checkpoint_interval,
    )
    print_tuned(found, output, as_json=say.json)
