"""``declutch compare``: two evaluations, prompt by prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from declutch.cli.options import A_PATH, OutputFlags, OwnMeasures
from declutch.ranges import Seed
from declutch.settings import EVALUATION, CheckSettings


def compare(
    before: Annotated[Path, A_PATH],
    after: Annotated[Path, A_PATH],
    /,
    *,
    seed: Annotated[Seed, EVALUATION] = 0,
    measure: OwnMeasures = (),
    guards: CheckSettings = CheckSettings(),
    say: OutputFlags = OutputFlags(),
) -> int:
    """Compare two evaluations of the same suite, with paired tests on each metric.

    Guards are checked on the second, with the first as their baseline; exits with 1 where one does
    not hold.

    Args:
        before: Folder that «declutch evaluate» wrote.
        after: The other one, compared with the first.
        seed: Of the paired bootstrap.
    """
    say.start()
    from declutch.cli.printing import print_comparison
    from declutch.evaluating.checking import guard_comparison, prepare_guards
    from declutch.evaluating.compare import compare as compare_results

    asked = prepare_guards(guards.guard, before)
    comparison = guard_comparison(
        compare_results(before, after, seed=seed, measures=measure), asked, guards.guard_mode
    )
    print_comparison(comparison, as_json=say.json)
    return int(any(not check.held for check in comparison.checks))
