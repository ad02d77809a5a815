"""``declutch report``: the report of a run, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from declutch.cli.options import A_PATH, OutputFlags, OwnMeasures


def report(
    folder: Annotated[Path, A_PATH],
    /,
    *,
    measure: OwnMeasures = (),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Write report.html, figures and the model card from what a run left on disk.

    Args:
        folder: Folder that «declutch run» wrote.
    """
    say.start()
    from declutch.cli.printing import print_run
    from declutch.reporting.report import write_report

    print_run(write_report(folder, measures=measure), folder, as_json=say.json)
