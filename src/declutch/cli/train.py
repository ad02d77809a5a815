"""``declutch train``: fine-tune a model, full or by an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from declutch.cli.options import A_PATH, Data, ModelArgument, Out, OutputFlags, named_sources
from declutch.settings import DATA, TRAINING, ModelSettings, TrainSettings


def train(
    model: ModelArgument,
    /,
    *,
    data: Data,
    output: Out,
    training: TrainSettings = TrainSettings(),
    protect: Annotated[Path | None, A_PATH, TRAINING] = None,
    couple: Annotated[tuple[str, ...], DATA] = (),
    exclude: Annotated[tuple[str, ...], DATA] = (),
    load: ModelSettings = ModelSettings(),
    say: OutputFlags = OutputFlags(),
) -> None:
    """Fine-tune a model on examples: every weight, or an adapter beside them.

    OUT gets training.json, loss.png and adapter, or model (a checkpoint) with --method full. The
    same command on the same OUT goes on where it stopped. Judge it with: declutch evaluate MODEL
    --adapter OUT, or declutch evaluate OUT/model. Several processes share the examples: torchrun
    --nproc-per-node N -m declutch train ...

    Args:
        protect: Folder of a patch whose weights no training moves.
        couple: With --protect-ratio: NAME=SOURCE of a dimension that they are coupled for.
        exclude: With --protect-ratio: NAME=SOURCE of a dimension whose neurons are left out.
    """
    say.start()
    sources, coupled, excluded = (
        named_sources(given, flag)
        for given, flag in ((data, "--data"), (couple, "--couple"), (exclude, "--exclude"))
    )
    from declutch.cli.printing import print_trained
    from declutch.reporting.pictures.training import write_loss_curve
    from declutch.scoring.distributed import session
    from declutch.training.train import train as train_model

    with session() as team:
        trained = train_model(
            model,
            sources,
            out=output,
            settings=training,
            load=load,
            protect=protect,
            couple=coupled,
            exclude=excluded,
        )
        if team.main:
            write_loss_curve(trained.record, output)
            print_trained(trained.record, output, as_json=say.json)
