"""``declutch inspect``: what would be scored, on which tokens, at what cost."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from declutch.cli._convert import model_options
from declutch.cli.options import (
    DATA,
    SELECTION,
    Data,
    EncodingFlags,
    ModelArgument,
    ModelFlags,
    OutputFlags,
    named_sources,
)
from declutch.ranges import CountOrZero, Share


def inspect(
    model: ModelArgument,
    /,
    *,
    data: Data = [],  # noqa: B006 (read only)
    ratio: Annotated[Share, Parameter(group=SELECTION, help="Ratio to give k for.")] = 5e-7,
    show: Annotated[
        CountOrZero, Parameter(group=DATA, help="Examples to show of each dimension.")
    ] = 2,
    load: ModelFlags = ModelFlags(),
    encoding: EncodingFlags = EncodingFlags(),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Show weight matrices, tokens with the loss mask, and an estimate of memory and time."""
    say.start()
    sources = named_sources(data, "--data")
    from declutch.cli.printing import print_json
    from declutch.inspection import inspect_model
    from declutch.reporting.inspection import print_inspection

    found = inspect_model(
        model,
        model_options(load),
        sources,
        target_modules=encoding.target_modules,
        prompt_format=encoding.prompt_format,
        max_length=encoding.max_length,
        num_samples=encoding.num_samples,
        allow_fewer=encoding.allow_fewer,
        seed=encoding.seed,
        ratio=ratio,
        show=show,
    )
    if say.json:
        print_json(found.as_json())
    else:
        print_inspection(found)
