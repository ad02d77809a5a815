"""Small and whole inputs, made once, that are then damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from declutch.evaluating.evaluate import evaluate
from declutch.locating import locate
from declutch.models.identity import ModelInfo
from declutch.scoring.partial import Partial, Progress
from declutch.scoring.score import score
from declutch.scoring.shortlists import Shortlist
from declutch.settings import RunSettings
from declutch.stages import SCORES, RunFolder
from tests.cli.conftest import write_pairs
from tests.conftest import build_model, build_tokenizer

MODEL = ModelInfo(id="owner/tiny", fingerprint="f" * 64, dtype="float32")
SETTINGS = asdict(RunSettings(model="tiny", couple={"fairness": "a.csv", "privacy": "b.csv"}))
MADE_FROM = {"score": SETTINGS["score"], "model": MODEL.fingerprint}
PROGRESS = Progress(1, (4, 2), 77, {"z": Shortlist(*torch.tensor([[3], [2], [1]]).unbind())})
GROUPS, EXAMPLES = (("z",), ("a.b", "c")), 6
STATES = {"a.b": torch.arange(6.0).view(2, 3), "c": torch.ones(4)}
REPLIES_RUN = {"model": "x", "decoding": {"max_new_tokens": 3}}


def prepare(folder: Path) -> None:
    """Write a model, data, scores, a patch and two evaluations."""
    model, tokenizer = build_model("llama", max_position_embeddings=512), build_tokenizer()
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    (folder / "data").mkdir()
    sources = {
        name: write_pairs(folder / "data" / f"{name}.jsonl", seed, 6, bad=name != "general")
        for seed, name in enumerate(("fairness", "privacy", "general"))
    }
    scores = score(model, tokenizer, sources, num_samples=4, shortlist=0.1, out=folder / "scores")
    patch = locate(scores, ["fairness", "privacy"], ["general"], ratio=0.05)
    patch.save(folder / "run" / "patch")
    shutil.copytree(folder / "scores", folder / "run" / "scores")
    suite = [f"{name}={sources[name]}" for name in ("fairness", "privacy")]
    text = folder / "data" / "text"
    text.write_text("One red lamp, two blue rivers, and a market of seven stones. " * 40)
    for name in ("before", "after"):
        evaluate(
            model, tokenizer, suite, out=folder / "run" / name, limit=6, max_new_tokens=4,
            patch=patch if name == "after" else None, model_info=MODEL, dependence="order",
            capability=(f"wikitext={text}",),
        )  # fmt: skip
    write_begun(folder / "begun")
    _write_tables(folder / "data")


def write_begun(folder: Path) -> None:
    """A run whose first stage is finished."""
    begun = RunFolder(folder, SETTINGS)
    begun.done(SCORES, MADE_FROM, {"dimensions": ["fairness"]})
    (folder / SCORES.name).mkdir()
    (folder / SCORES.name / "scores.json").write_text("{}")
    begun.finish(SCORES)


def _write_tables(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "fairness.jsonl").read_text().splitlines()]
    (folder / "table.json").write_text(json.dumps(rows))
    lines = [f'"{row["prompt"]}","{row["response"]}",yes\n' for row in rows]
    (folder / "table.csv").write_text("prompt,response,aware\n" + "".join(lines))
    labels = [f'"{row["prompt"]}","{row["response"]}",yes\n' for row in rows]
    (folder / "labels.csv").write_text("prompt,reply,aware\n" + "".join(labels))
    turns = [
        {"messages": [{"role": "user", "content": row["prompt"]},
                      {"role": "assistant", "content": row["response"]}]}
        for row in rows
    ]  # fmt: skip
    (folder / "turns.jsonl").write_text("".join(json.dumps(turn) + "\n" for turn in turns))
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError:
        return
    parquet.write_table(pa.Table.from_pylist(rows), folder / "table.parquet")


def copied(source: Path, *parts: str) -> Callable[[Path], None]:
    """Fill a folder with a part of what was prepared."""

    def make(folder: Path) -> None:
        for part in parts:
            if (source / part).is_dir():
                shutil.copytree(source / part, folder / Path(part).name, dirs_exist_ok=True)
            else:
                shutil.copy(source / part, folder / Path(part).name)

    return make


def write_partial(folder: Path) -> None:
    """Partial sums of an interrupted scoring."""
    partial = Partial(folder, {"job": 1}, 0)
    partial.save(Progress(1, (), 77, PROGRESS.shortlists), {})
    partial.save(PROGRESS, STATES)
