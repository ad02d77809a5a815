"""``declutch inspect``: what would be scored, on which tokens, at what cost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from declutch.cli.options import Data, ModelArgument, OutputFlags, named_sources
from declutch.ranges import CountOrZero, Share
from declutch.settings import DATA, SELECTION, EncodingSettings, ModelSettings


def inspect(
    model: ModelArgument,
    /,
    *,
    data: Data = [],  # noqa: B006 (read only)
    ratio: Annotated[Share, SELECTION] = 5e-7,
    show: Annotated[CountOrZero, DATA] = 2,
    load: ModelSettings = ModelSettings(),
    encoding: EncodingSettings = EncodingSettings(),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Show weight matrices, tokens with the loss mask, and an estimate of memory and time.

    Args:
        ratio: Ratio to give k for.
        show: Examples to show of each dimension.
    """
    say.start()
    sources = named_sources(data, "--data")
    from declutch.cli.printing import print_json
    from declutch.inspection import inspect_model
    from declutch.reporting.inspection import print_inspection

    found = inspect_model(model, load, sources, settings=encoding, ratio=ratio, show=show)
    if say.json:
        print_json(asdict(found))
    else:
        print_inspection(found)
