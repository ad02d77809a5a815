"""A tiny model on disk and small data files, for whole commands."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from declutch.progress import log
from tests.conftest import build_model, build_tokenizer

WORDS = [
    "red", "blue", "small", "quick", "old", "kind", "north", "river",
    "stone", "paper", "cloud", "lamp", "seven", "market",
]  # fmt: skip


def write_pairs(path: Path, seed: int, count: int = 8, *, bad: bool = False) -> Path:
    """Write ``count`` different pairs as JSONL."""
    rows = []
    for number in range(count):
        words = [WORDS[(seed + number * step) % len(WORDS)] for step in range(1, 6)]
        row = {
            "prompt": f"Tell me {number} of {' '.join(words[:3])} ?",
            "response": f"The {' '.join(words)} is number {seed + number}.",
        }
        if bad:
            row["bad_response"] = f"No, {' '.join(reversed(words))}."
        rows.append(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def verbosity_of_one_command() -> Iterator[None]:
    """A command sets how much is said, for its process; the next test has another."""
    yield
    log.handlers = []
    log.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-llama")
    build_model("llama", max_position_embeddings=512).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    (folder / "LICENSE").write_text("Apache-2.0", encoding="utf-8")
    return folder


def write_data(folder: Path) -> dict[str, Path]:
    """Data of two coupled dimensions, with pairs, and of an excluded one."""
    return {
        name: write_pairs(folder / f"{name}.jsonl", seed, bad=name != "general")
        for seed, name in enumerate(("fairness", "privacy", "general"), start=1)
    }


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_data(tmp_path_factory.mktemp("data"))
