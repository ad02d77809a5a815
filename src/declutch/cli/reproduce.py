"""``declutch reproduce``: a run once more, from its record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from declutch.cli.options import A_PATH, Out, OutputFlags


def reproduce(
    folder: Annotated[Path, A_PATH],
    /,
    *,
    output: Out,
    say: OutputFlags = OutputFlags(),
) -> int:
    """Do a run again from its record, in another folder, and say what comes out otherwise.

    Data, model, patch and results are compared by their hashes. The same command on the same OUT
    goes on where it stopped. Exits with 1 where something differs.

    Args:
        folder: Folder of a run; its run.json is enough.
    """
    say.start()
    from declutch.cli.printing import print_reproduction
    from declutch.reproducing import reproduce as reproduce_run

    found = reproduce_run(folder, output)
    print_reproduction(found, as_json=say.json)
    return int(not found.same)
