"""``declutch score``: shortlists of every dimension."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from declutch.cli._convert import memory_bytes, model_options, score_settings
from declutch.cli.options import (
    DATA,
    MemoryLimit,
    ModelArgument,
    ModelFlags,
    Out,
    OutputFlags,
    ScoreFlags,
    named_sources,
)


def score(
    model: ModelArgument,
    /,
    *,
    data: Annotated[
        list[str],
        Parameter(
            help="NAME=SOURCE of a dimension; repeatable.",
            group=DATA,
            negative="",
            consume_multiple=False,
        ),
    ],
    output: Out,
    memory_limit: MemoryLimit = None,
    load: ModelFlags = ModelFlags(),
    scoring: ScoreFlags = ScoreFlags(),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Score every targeted weight on each dimension, and keep the highest of each matrix.

    Each dimension is written as it finishes; the same command goes on with the next.
    """
    say.start()
    sources = named_sources(data, "--data")
    from declutch.cli.printing import print_scores
    from declutch.data.sources import Source
    from declutch.models.loading import load_model
    from declutch.scoring.score import score as score_model

    parsed = {name: Source.parse(source) for name, source in sources.items()}
    loaded = load_model(model, model_options(load))
    scores = score_model(
        loaded.model,
        loaded.tokenizer,
        parsed,
        settings=score_settings(scoring),
        memory_limit=memory_bytes(memory_limit),
        out=output,
        model_info=loaded.info,
    )
    print_scores(scores.info, output, as_json=say.json)
