"""``declutch export``: an evaluation in the form of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from declutch.cli.options import A_PATH, Out, OutputFlags, OwnMeasures
from declutch.settings import OUTPUT


def export(
    results: Annotated[Path, A_PATH],
    /,
    *,
    to: Annotated[str, OUTPUT],
    output: Out,
    measure: OwnMeasures = (),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Write an evaluation for another tool, into a folder that takes any number of them.

    inspect: logs that «inspect view» shows and inspect_ai reads, one a prompt set. lm-eval: what
    lm-evaluation-harness writes, results and samples.

    Args:
        results: Folder that «declutch evaluate» wrote.
        to: inspect, lm-eval, or a form of your own (FILE.py:NAME).
    """
    say.start()
    from declutch.cli.printing import print_json
    from declutch.reporting.export import export as write
    from declutch.terminal import visible

    files = [str(path) for path in write(results, to, output, measures=measure)]
    if say.json:
        print_json({"files": files})
    else:
        print(visible("\n".join(files)))
