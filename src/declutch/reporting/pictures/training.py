"""How the loss of a training fell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from declutch.files import atomic_path
from declutch.reporting import style
from declutch.reporting.picture import Drawing, drawing, picture
from declutch.reporting.values import ReportInput
from declutch.training.record import TrainingRecord


@picture("training", order=95)
def training(report: ReportInput) -> Iterator[Drawing]:
    """One curve, where the folder holds a training."""
    if report.training is not None and report.training.steps:
        yield loss_curve(report.training)


def loss_curve(record: TrainingRecord) -> Drawing:
    """The loss of each step, as it was, over the steps."""
    with style.look():
        figure = style.new_figure(6.4, 3.4)
        axes = figure.subplots()
        axes.plot(
            [one.step for one in record.steps], [one.loss for one in record.steps],
            color=style.AFTER, linewidth=1.4, marker="o", markersize=2.5,
        )  # fmt: skip
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("loss, nats a token")
        axes.set_ylim(bottom=0)
        axes.grid(color=style.FAINT, linewidth=0.7)
        axes.set_axisbelow(True)
    first, last = record.steps[0], record.steps[-1]
    return drawing(
        "loss",
        f"The loss of training ({record.method})",
        "Mean cross-entropy of the response tokens of each step's examples, before the step; "
        "nothing is smoothed.",
        figure,
        f"From {first.loss:.3g} at step {first.step} to {last.loss:.3g} at step {last.step}",
    )


def write_loss_curve(record: TrainingRecord, out: Path) -> Path:
    """Write it into the folder of a training."""
    path = out / "loss.png"
    with atomic_path(path) as temporary:
        temporary.write_bytes(loss_curve(record).png)
    return path
