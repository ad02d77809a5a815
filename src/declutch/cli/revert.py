"""``declutch revert``: the original checkpoint back from a patched one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from declutch.cli.options import A_PATH, ModelArgument, Out, OutputFlags
from declutch.settings import ModelSettings


def revert(
    model: ModelArgument,
    patch: Annotated[Path, A_PATH],
    /,
    *,
    output: Out,
    load: ModelSettings = ModelSettings(dtype="checkpoint"),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Write the original checkpoint back: the same bits, proven by the model's fingerprint.

    Args:
        patch: Folder of the patch that was applied.
    """
    say.start()
    from declutch.checkpoint import write_checkpoint
    from declutch.cli.printing import print_checkpoint
    from declutch.models.loading import load_model
    from declutch.patching import Patch

    chosen = Patch.load(patch)
    checked = write_checkpoint(
        load_model(model, load), chosen, output, "original", dtype=load.dtype
    )
    print_checkpoint(output, checked, "original", as_json=say.json)
