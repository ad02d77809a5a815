"""``declutch locate``: from shortlists to a patch; no model is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from declutch.cli.options import A_PATH, Out, OutputFlags
from declutch.ranges import Seed
from declutch.settings import OUTPUT, SELECTION, LocateSettings


def locate(
    scores: Annotated[Path, A_PATH],
    /,
    *,
    couple: Annotated[list[str], SELECTION],
    exclude: Annotated[list[str], SELECTION] = [],  # noqa: B006 (read only)
    output: Out,
    target_modules: Annotated[str | None, SELECTION] = None,
    seed: Annotated[Seed, SELECTION] = 0,
    overwrite: Annotated[bool, OUTPUT] = False,
    selection: LocateSettings = LocateSettings(),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Choose neurons from the shortlists and write the patch that suppresses them.

    Args:
        scores: Folder that «declutch score» wrote.
        couple: A coupled dimension; give two or more.
        exclude: A dimension whose important neurons are left alone.
        target_modules: Narrower than what was scored, in the same terms.
        seed: Of the random rule.
        overwrite: Write over another patch.
    """
    say.start()
    from declutch.cli.printing import print_patch
    from declutch.locating import locate as locate_neurons
    from declutch.scoring.shortlists import Scores

    patch = locate_neurons(
        Scores.load(scores), couple, exclude, settings=selection, target_modules=target_modules,
        seed=seed,
    )  # fmt: skip
    patch.save(output, overwrite=overwrite)
    print_patch(patch, output, as_json=say.json)
