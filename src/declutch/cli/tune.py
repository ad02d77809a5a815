"""``declutch tune``: search for an edit that helps, and prove it."""

from __future__ import annotations

from declutch.cli.options import JobFlags, ModelArgument, Out, OutputFlags
from declutch.settings import (
    CheckSettings,
    JudgingSettings,
    ModelSettings,
    ScoreSettings,
    TuneSettings,
)


def tune(
    model: ModelArgument,
    /,
    *,
    job: JobFlags,
    output: Out,
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
    """
    say.start()
    from declutch.cli.printing import print_tuned
    from declutch.pipeline import tune as tune_model

    settings = job.settings(
        model,
        load=load,
        score=scoring,
        judging=judging,
        checks=checks,
        tune=tuning,
    )
    found = tune_model(settings, out=output, **job.work)
    print_tuned(found, output, as_json=say.json)
