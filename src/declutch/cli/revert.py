"""``declutch revert``: the original checkpoint back from a patched one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from declutch.cli.options import A_PATH, ModelArgument, Out, OutputFlags
from declutch.settings import ModelSettings


def revert(
    model: ModelArgument,
    patch: Annotated[Path, A_PATH, Parameter(help="Folder of the patch that was applied.")],
    /,
    *,
    output: Out,
    load: ModelSettings = ModelSettings(dtype="checkpoint"),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Write the original checkpoint back: the same bits, proven by the model's fingerprint."""
    say.start()
    from declutch.checkpoint import write_checkpoint
    from declutch.cli.printing import print_checkpoint
    from declutch.models.loading import load_model
    from declutch.patching import Patch

    chosen = Patch.load(patch)
    loaded = load_model(model, load)
    checked = write_checkpoint(loaded, chosen, output, "original", dtype=load.dtype)
    print_checkpoint(output, checked, "original", as_json=say.json)
