"""Two processes under torchrun, as one with batches twice as large."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from declutch.records import read_record
from declutch.training.record import FORMAT_VERSION, TRAINING_FILE, TrainingRecord

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_two_processes_train_as_one(
    model_folder: Path, data: dict[str, str], tmp_path: Path
) -> None:
    """Up to rounding: each takes half of a batch, and gradients are averaged over all tokens."""
    losses = []
    for size, batch in ((2, "2"), (1, "4")):
        subprocess.run(
            [
                sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={size}",
                "-m", "declutch", "train", str(model_folder), "--method", "lora",
                "--data", f"fairness={data['fairness']}", "--num-samples", "8", "--device", "cpu",
                "--batch-size", batch, "--learning-rate", "0.001", "-o", str(tmp_path / str(size)),
            ],
            check=True, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )  # fmt: skip
        path = tmp_path / str(size) / TRAINING_FILE
        losses.append([one.loss for one in read_record(path, TrainingRecord, FORMAT_VERSION).steps])
    assert len(losses[0]) == 6
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
