"""``declutch demo``: the whole job on the embedded model and the bundled data."""

from __future__ import annotations

from pathlib import Path

from declutch.cli.options import Out, OutputFlags
from declutch.settings import (
    JudgingSettings,
    LocateSettings,
    RunSettings,
    ScoreSettings,
    StabilitySettings,
)


def demo(
    *,
    output: Out = Path("declutch-demo"),
    stability: StabilitySettings = StabilitySettings(),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Run everything on SmolLM2-135M-Instruct and bundled data, offline, in a few minutes."""
    say.start()
    from declutch.cli.printing import print_run
    from declutch.pipeline import run as run_pipeline

    # Sized for ten minutes on two cores; the paper's ratio of 5e-7 would select nothing in
    # matrices this small.
    settings = RunSettings(
        model="demo",
        couple={"fairness": "bundled:fairness", "privacy": "bundled:privacy"},
        exclude={"general": "bundled:general"},
        score=ScoreSettings(num_samples=48),
        locate=LocateSettings(ratio=1e-5),
        judging=JudgingSettings(limit=50, max_new_tokens=40, batch_size=50),
        stability=stability,
    )
    print_run(run_pipeline(settings, out=output), output, as_json=say.json)
