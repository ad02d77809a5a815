"""A tiny model on disk, and small data, for whole trainings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from declutch.training.job import Trained
from declutch.training.train import train
from declutch.training.trainer import _Watch
from tests.cli.conftest import write_pairs
from tests.conftest import build_model, build_tokenizer

Train = Callable[..., Trained]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-llama")
    build_model("llama", max_position_embeddings=2048).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("data")
    return {
        name: str(write_pairs(folder / f"{name}.jsonl", seed, 12, bad=True))
        for seed, name in enumerate(("fairness", "privacy"), start=1)
    }


@pytest.fixture
def trained(model_folder: Path, data: dict[str, str], tmp_path: Path) -> Train:
    """Train the tiny model for a few steps into ``tmp_path / "out"``."""

    def run(out: str = "out", sources: Any = None, **options: Any) -> Trained:
        given = {"num_samples": 8, "batch_size": 4, "learning_rate": 1e-3}
        sources = {"fairness": data["fairness"]} if sources is None else sources
        return train(model_folder, sources, out=tmp_path / out, **{**given, **options})

    return run


class Killed(Exception):
    """What ends a training that is killed."""


@contextlib.contextmanager
def killed_at(step: int) -> Iterator[None]:
    """A training inside the ``with`` block must end after this step, before that step is kept."""

    def kill(self: _Watch, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == step:
            raise Killed

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_Watch, "on_step_end", kill)
        with pytest.raises(Killed):
            yield


def raw_bits(values: Tensor) -> Tensor:
    """Bits as they are, with −0.0 apart from 0.0."""
    return values.detach().clone().contiguous().view(torch.uint8)


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    """Whether two models hold the same bits under the same names."""
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(
        torch.equal(raw_bits(one[name]), raw_bits(other[name])) for name in one
    )
