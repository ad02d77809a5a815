"""``declutch demo``: the whole job on the embedded model and the bundled data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from declutch.cli.options import Out, OutputFlags
from declutch.settings import StabilitySettings


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
    from declutch.settings import demo_settings

    settings = replace(demo_settings(), stability=stability)
    print_run(run_pipeline(settings, out=output), output, as_json=say.json)
