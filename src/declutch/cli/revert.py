"""``declutch revert``: the original checkpoint back from a patched one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from declutch.cli.options import A_PATH, ModelArgument, OnDisk, Out, OutputFlags
from declutch.settings import ModelSettings


def revert(
    model: ModelArgument,
    patch: Annotated[Path, A_PATH],
    /,
    *,
    output: Out,
    on_disk: OnDisk = False,
    load: ModelSettings = ModelSettings(dtype="checkpoint"),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Write the original checkpoint back: the same bits, proven by the model's fingerprint.

    Args:
        patch: Folder of the patch that was applied.
    """
    say.start()
    from declutch.checkpoint import write
    from declutch.cli.printing import print_checkpoint
    from declutch.patching import Patch

    chosen = Patch.load(patch)
    checked = write(model, chosen, output, "original", load, on_disk=on_disk)
    print_checkpoint(output, checked, "original", as_json=say.json)
