"""``declutch compare``: two evaluations, prompt by prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from declutch.cli.options import EVALUATION, OutputFlags


def compare(
    before: Annotated[Path, Parameter(help="Folder that «declutch evaluate» wrote.")],
    after: Annotated[Path, Parameter(help="The other one, compared with the first.")],
    /,
    *,
    seed: Annotated[int, Parameter(group=EVALUATION, help="Of the paired bootstrap.")] = 0,
    say: OutputFlags = OutputFlags(),
) -> None:
    """Compare two evaluations of the same suite, with paired tests on each metric."""
    say.start()
    from declutch.cli._evidence import print_comparison
    from declutch.evaluation.compare import compare as compare_results

    print_comparison(compare_results(before, after, seed=seed), as_json=say.json)
