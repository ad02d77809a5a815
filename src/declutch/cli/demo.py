"""``declutch demo``: the whole job on the embedded model and the bundled data."""

from __future__ import annotations

from pathlib import Path

from declutch.cli.options import Out, OutputFlags
from declutch.settings import JudgingSettings, RunSettings, ScoreSettings, TuneSettings


def demo(
    *,
    output: Out = Path("declutch-demo"),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Search for an edit of SmolLM2-135M-Instruct that helps, and prove it: offline, in minutes.

    On bundled data: one scoring; candidates of the paper's rule and of the balanced one; the best
    of each and a random edit side by side with the original, on prompts that no choice was made by.
    """
    say.start()
    from declutch.cli.printing import print_tuned
    from declutch.pipeline import tune

    # A search sized for ten minutes on two cores; the paper's ratio of 5e-7 would select nothing
    # in matrices this small.
    settings = RunSettings(
        model="demo",
        couple={"fairness": "bundled:fairness", "privacy": "bundled:privacy"},
        exclude={"general": "bundled:general"},
        score=ScoreSettings(num_samples=24),
        judging=JudgingSettings(max_new_tokens=40, batch_size=50),
        tune=TuneSettings(
            trials=12,
            survivors=3,
            tuning_share=0.55,
            tuning_limit=15,
            processes=2,
            controls=("rules", "random"),
        ),
    )
    print_tuned(tune(settings, out=output), output, as_json=say.json)
