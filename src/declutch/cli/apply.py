"""``declutch apply``: a patched checkpoint from a model and a patch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from declutch.cli.options import A_PATH, ModelArgument, OnDisk, Out, OutputFlags
from declutch.ranges import Scale
from declutch.settings import SELECTION, ModelSettings


def apply(
    model: ModelArgument,
    patch: Annotated[Path, A_PATH],
    /,
    *,
    output: Out,
    scale: Annotated[Scale | None, SELECTION] = None,
    on_disk: OnDisk = False,
    load: ModelSettings = ModelSettings(dtype="checkpoint"),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Write a patched checkpoint, and read back from disk that every patched weight is there.

    The checkpoint is as large as before: suppressing is not compression. The patch is the small
    thing to share.

    Args:
        patch: Folder of the patch.
        scale: In place of the patch's own scale.
    """
    say.start()
    from declutch.checkpoint import write
    from declutch.cli.printing import print_checkpoint
    from declutch.patching import Patch

    chosen = Patch.load(patch)
    if scale is not None:
        chosen = chosen.scaled(scale)
    checked = write(model, chosen, output, "patched", load, on_disk=on_disk)
    print_checkpoint(output, checked, "patched", as_json=say.json)
