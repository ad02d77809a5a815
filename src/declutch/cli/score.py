"""``declutch score``: shortlists of every dimension."""

from __future__ import annotations

from dataclasses import replace

from declutch.cli.options import (
    CheckpointInterval,
    Data,
    MemoryLimit,
    ModelArgument,
    Out,
    OutputFlags,
    memory_bytes,
    named_sources,
)
from declutch.settings import ModelSettings, ScoreSettings


def score(
    model: ModelArgument,
    /,
    *,
    data: Data,
    output: Out,
    memory_limit: MemoryLimit = None,
    checkpoint_interval: CheckpointInterval = 300.0,
    load: ModelSettings = ModelSettings(),
    scoring: ScoreSettings = ScoreSettings(),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Score every targeted weight on each dimension, and keep the highest of each matrix.

    Each dimension is written as it finishes; the same command goes on with the next. Several
    processes share the examples: torchrun --nproc-per-node N -m declutch score ...
    """
    say.start()
    sources = named_sources(data, "--data")
    from declutch.cli.printing import print_scores
    from declutch.data.sources import Source
    from declutch.models.loading import load_model
    from declutch.scoring.distributed import session
    from declutch.scoring.score import score as score_model

    parsed = {name: Source.parse(source) for name, source in sources.items()}
    with session() as team:
        if team.device and not (load.device or load.device_map):
            load = replace(load, device=str(team.device))
        loaded = load_model(model, load)
        scores = score_model(
            loaded.model,
            loaded.tokenizer,
            parsed,
            settings=scoring,
            memory_limit=memory_bytes(memory_limit),
            checkpoint_interval=checkpoint_interval,
            out=output,
            model_info=loaded.info,
        )
        if team.main:
            print_scores(scores.info, output, as_json=say.json)
