"""``declutch demo``: the whole job on the embedded model and the bundled data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from declutch.cli.options import A_PATH, OutputFlags
from declutch.settings import OUTPUT


def demo(
    *,
    output: Annotated[
        Path, A_PATH, Parameter(name=["--output", "-o"], help="Folder to write.", group=OUTPUT)
    ] = Path("declutch-demo"),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Run everything on SmolLM2-135M-Instruct and bundled data, offline, in a few minutes."""
    say.start()
    from declutch.cli.printing import print_run
    from declutch.pipeline import run as run_pipeline
    from declutch.settings import demo_settings

    print_run(run_pipeline(demo_settings(), out=output), output, as_json=say.json)
