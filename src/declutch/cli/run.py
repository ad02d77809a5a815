"""``declutch run``: the whole job on a model and data of the user's."""

from __future__ import annotations

from declutch.cli.options import JobFlags, ModelArgument, Out, OutputFlags
from declutch.settings import (
    CheckSettings,
    JudgingSettings,
    LocateSettings,
    ModelSettings,
    ScoreSettings,
    StabilitySettings,
    TuneSettings,
)


def run(
    model: ModelArgument,
    /,
    *,
    job: JobFlags,
    output: Out,
    load: ModelSettings = ModelSettings(),
    scoring: ScoreSettings = ScoreSettings(),
    selection: LocateSettings = LocateSettings(),
    tuning: TuneSettings = TuneSettings(),
    judging: JudgingSettings = JudgingSettings(),
    checks: CheckSettings = CheckSettings(),
    stability: StabilitySettings = StabilitySettings(),
    say: OutputFlags = OutputFlags(),
) -> int:
    """Score, locate, evaluate, apply, evaluate again, and report.

    OUT gets scores, patch, model (the patched checkpoint), before, after, report.html and
    figures. The same command on the same OUT goes on where it stopped. Guards compare with the
    model as it was; exits with 1 where one does not hold. With --rule auto the edit is searched for
    as «declutch tune» does.
    """
    say.start()
    from declutch.cli.printing import print_run
    from declutch.pipeline import run as run_pipeline

    settings = job.settings(
        model,
        load=load,
        score=scoring,
        locate=selection,
        tune=tuning,
        judging=judging,
        checks=checks,
        stability=stability,
    )
    paths = run_pipeline(settings, out=output, **job.work)
    print_run(paths, output, as_json=say.json)
    return int(any(not check.held for check in paths.input.comparison.checks))
