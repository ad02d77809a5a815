"""``declutch locate``: from shortlists to a patch; single weights need no model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from declutch.cli.options import A_PATH, Out, OutputFlags
from declutch.ranges import Seed
from declutch.settings import MODEL, OUTPUT, SELECTION, LocateSettings, ModelSettings


def locate(
    scores: Annotated[Path, A_PATH],
    /,
    *,
    couple: Annotated[list[str], SELECTION],
    exclude: Annotated[list[str], SELECTION] = [],  # noqa: B006 (read only)
    output: Out,
    target_modules: Annotated[str | None, SELECTION] = None,
    model: Annotated[str | None, MODEL] = None,
    seed: Annotated[Seed, SELECTION] = 0,
    overwrite: Annotated[bool, OUTPUT] = False,
    selection: LocateSettings = LocateSettings(),
    load: ModelSettings = ModelSettings(),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Choose neurons from the shortlists and write the patch that suppresses them.

    Args:
        scores: Folder that «declutch score» wrote.
        couple: A coupled dimension; give two or more.
        exclude: A dimension whose important neurons are left alone.
        target_modules: Narrower than what was scored, in the same terms.
        model: Where the scored model is; it is read for --granularity neuron, head and expert
            [default: where it was when it was scored].
        seed: Of the random rule.
        overwrite: Write over another patch.
    """
    say.start()
    from declutch.cli.printing import print_patch
    from declutch.locating import locate as locate_neurons
    from declutch.scoring.shortlists import Scores

    found = Scores.load(scores)
    read = None
    if selection.granularity != "weight":
        from declutch.models.loading import load_model

        read = load_model(model or found.info.model.id, load).model
    patch = locate_neurons(
        found, couple, exclude, settings=selection, target_modules=target_modules, seed=seed,
        model=read,
    )  # fmt: skip
    patch.save(output, overwrite=overwrite)
    print_patch(patch, output, as_json=say.json)
