"""``declutch locate``: from shortlists to a patch; no model is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from declutch.cli.options import A_PATH, Out, OutputFlags
from declutch.ranges import Seed
from declutch.settings import OUTPUT, SELECTION, LocateSettings, repeated


def locate(
    scores: Annotated[Path, A_PATH, Parameter(help="Folder that «declutch score» wrote.")],
    /,
    *,
    couple: Annotated[list[str], repeated(SELECTION, "A coupled dimension; give two or more.")],
    exclude: Annotated[
        list[str], repeated(SELECTION, "A dimension whose important neurons are left alone.")
    ] = [],  # noqa: B006 (read only)
    output: Out,
    target_modules: Annotated[
        str | None,
        Parameter(group=SELECTION, help="Narrower than what was scored, in the same terms."),
    ] = None,
    seed: Annotated[Seed, Parameter(group=SELECTION, help="Of the random rule.")] = 0,
    overwrite: Annotated[
        bool, Parameter(group=OUTPUT, negative="", help="Write over another patch.")
    ] = False,
    selection: LocateSettings = LocateSettings(),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Choose neurons from the shortlists and write the patch that suppresses them."""
    say.start()
    from declutch.cli.printing import print_patch
    from declutch.locating import locate as locate_neurons
    from declutch.scoring.shortlists import Scores

    patch = locate_neurons(
        Scores.load(scores),
        couple,
        exclude,
        settings=selection,
        target_modules=target_modules,
        seed=seed,
    )
    patch.save(output, overwrite=overwrite)
    print_patch(patch, output, as_json=say.json)
