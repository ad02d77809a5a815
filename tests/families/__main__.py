"""Measure every family and write the page; nothing is written while one is wrong.

python -m tests.families [FAMILY ...]     with names: measure these, and only print them
"""

from __future__ import annotations

import sys
import traceback

from transformers.utils import logging

from tests.families.measure import Outcome, outcome_of
from tests.families.page import PAGE, is_wrong, row, write_page
from tests.families.tiny import all_families


def main(names: list[str]) -> int:
    """Exit status: 1 where a family is wrong or ends in an error that is not declutch's."""
    logging.set_verbosity_error()
    outcomes: list[Outcome] = []
    bad: list[str] = []
    for name in names or all_families():
        try:
            outcome = outcome_of(name)
        except Exception:
            traceback.print_exc()
            bad.append(name)
            continue
        outcomes.append(outcome)
        if is_wrong(outcome):
            bad.append(name)
        print(*row(outcome), outcome.error, *outcome.remarks, sep=" | ", flush=True)
    if bad:
        print(f"Wrong: {', '.join(bad)}.", file=sys.stderr)
    elif not names:
        write_page(outcomes)
        print(f"Wrote {PAGE}.")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
