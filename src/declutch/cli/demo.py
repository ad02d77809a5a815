"""``declutch demo``: the whole job on the embedded model and the bundled data."""

from __future__ import annotations

from pathlib import Path

from declutch.cli.options import Out, OutputFlags


def demo(*, output: Out = Path("declutch-demo"), say: OutputFlags = OutputFlags()) -> None:
    """Run everything on SmolLM2-135M-Instruct and bundled data, offline, in a few minutes."""
    say.start()
    from declutch.cli.printing import print_run
    from declutch.pipeline import run as run_pipeline
    from declutch.settings import demo_settings

    print_run(run_pipeline(demo_settings(), out=output), output, as_json=say.json)
