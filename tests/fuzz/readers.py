"""Every reader of declutch, each with whole inputs to damage and a way to read them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from declutch.cli import build_app
from declutch.cli.config import read_config
from declutch.cli.options import named_sources
from declutch.cli.running import run_command
from declutch.comparing.checks import check_guards, parse_guard
from declutch.comparing.results import Results
from declutch.data.encoding import Encoder
from declutch.data.example import Example
from declutch.data.loading import load_examples
from declutch.data.sources import Source
from declutch.evaluating.compare import compare
from declutch.evaluating.keeping import Ledger, read_measured
from declutch.judges import get_judge
from declutch.judges.embedding import EmbeddingJudge
from declutch.judges.labels import read_labels
from declutch.judges.sentence_vectors import SentenceEncoder
from declutch.locating import locate
from declutch.measures.base import Evidence, find_measure
from declutch.models.loading import load_model
from declutch.models.targets import target_filter
from declutch.patching import Patch
from declutch.replies.store import ReplyStore
from declutch.reporting.loading import load_input
from declutch.scoring.memory import parse_size
from declutch.scoring.partial import Partial
from declutch.scoring.shortlists import Scores
from declutch.settings import ModelSettings
from declutch.stages import SCORES, RunFolder
from declutch.suites.loading import load_suite
from tests.conftest import CHAT_TEMPLATE, build_model, build_tokenizer
from tests.fuzz.harness import FolderReader, Reader, TextReader
from tests.fuzz.prepared import (
    EXAMPLES,
    GROUPS,
    MADE_FROM,
    REPLIES_RUN,
    SETTINGS,
    STATES,
    copied,
    write_partial,
)
from tests.judges.test_embedding import write as write_replies
from tests.models.checkpoints import write_gguf

MEASURED = ("margin", "capability", "dependence")
_CPU = ModelSettings(device="cpu")
_NAMES = (
    "model.layers.0.mlp.gate_proj", "model.layers.11.self_attn.q_proj",
    "model.layers.3.block_sparse_moe.experts.down_proj[7]",
)  # fmt: skip


class _Encoder(SentenceEncoder):
    def __init__(self) -> None:
        self.reference, self.sha256, self.max_length = "fake", "f" * 64, 9

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [["kind" in text, len(text) / 20, 1.0] for text in texts]
        return np.array(rows, dtype=np.float32)


class Failed(Exception):
    """A command ended with a status that it must not end with."""


def _command(*tokens: str) -> None:
    status = run_command(build_app(), list(tokens))
    if status not in (0, 2):
        raise Failed(f"status {status} of {tokens}")


def all_readers(prepared: Path) -> list[Reader]:
    """Every reader; shares are of all inputs, and what is slow gets few."""
    return [
        *_of_data(prepared),
        *_of_artefacts(prepared),
        *_of_texts(prepared),
        *_of_models(prepared),
    ]


def _of_data(prepared: Path) -> list[Reader]:
    def data(name: str, file: str, share: float) -> Reader:
        return FolderReader(
            name, share, copied(prepared, f"data/{file}"),
            lambda folder: load_examples(folder / file, num_samples=4, allow_fewer=True),
        )  # fmt: skip

    return [
        data("data-csv", "table.csv", 8),
        data("data-json", "table.json", 8),
        data("data-jsonl", "fairness.jsonl", 8),
        data("data-turns", "turns.jsonl", 8),
        data("data-parquet", "table.parquet", 4),
        FolderReader(
            "labels", 3, copied(prepared, "data/labels.csv"),
            lambda folder: read_labels("privacy", str(folder / "labels.csv")),
        ),
    ]  # fmt: skip


def _of_artefacts(prepared: Path) -> list[Reader]:
    model = build_model("llama")

    def patch(folder: Path) -> None:
        found = Patch.load(folder)
        found.summary()
        with found.applied(model, check=False):
            pass

    def scores(folder: Path) -> None:
        found = Scores.load(folder)
        locate(found, ["fairness", "privacy"], ["general"], ratio=0.05, rule="coupled")
        locate(found, ["fairness", "privacy"], ratio=0.01, rule="random", scope="layer")

    def partial(folder: Path) -> None:
        kept = Partial(folder, {"job": 1}, 0)
        if (progress := kept.load(GROUPS, EXAMPLES)) and progress.done:
            kept.load_sums({name: torch.zeros_like(state) for name, state in STATES.items()})

    def begin(folder: Path) -> None:
        RunFolder(folder, SETTINGS).done(SCORES, MADE_FROM, {"dimensions": ["fairness"]})

    def replies(folder: Path) -> None:
        ReplyStore(folder, REPLIES_RUN)

    def make_replies(folder: Path) -> None:
        copied(prepared, "run/after/replies.jsonl")(folder)
        text = {"format_version": 1, "run": REPLIES_RUN, "judges": {"heuristic": {"version": 1}}}
        (folder / "replies.json").write_text(json.dumps(text))

    def measured(folder: Path) -> None:
        ledger = Ledger(folder, measured_run)
        for name in MEASURED:
            ledger.measure(find_measure(name), [])
        for name in MEASURED:
            find_measure(name).metrics(Evidence(items=ledger.items, facts=ledger.facts))

    def judge(folder: Path) -> None:
        EmbeddingJudge(folder, encoder=_Encoder())

    def results(folder: Path) -> None:
        compare(folder / "before", folder / "after")

    run = prepared / "run"
    measured_run = read_measured(run / "after").run
    measured_files = copied(run / "after", "measured.json", *(f"{name}.jsonl" for name in MEASURED))
    patch_files = copied(run / "patch", "patch.json", "patch.safetensors")
    score_files = copied(prepared / "scores", "scores.json", "shortlists.safetensors")
    return [
        FolderReader("patch", 8, patch_files, patch),
        FolderReader("scores", 5, score_files, scores),
        FolderReader("partial", 5, write_partial, partial),
        FolderReader("run.json", 4, copied(prepared / "begun", "run.json", "scores"), begin),
        FolderReader("replies", 5, make_replies, replies),
        FolderReader("measured", 5, measured_files, measured),
        FolderReader("results", 1.5, copied(run, "before", "after"), results),
        FolderReader("report", 1, copied(run, "before", "after", "patch", "scores"), load_input),
        FolderReader("judge", 4, _make_judge, judge),
    ]


def _make_judge(folder: Path) -> None:
    from declutch.judges.fitting import fit_judge

    sources = folder.parent / "judge-sources"
    sources.mkdir(exist_ok=True)
    kind, rude = (write_replies(sources / f"{w}.jsonl", w, 12) for w in ("kind", "rude"))
    fit_judge({"fairness": (str(kind), str(rude))}, folder, encoder=_Encoder(), folds=2)


def _of_texts(prepared: Path) -> list[Reader]:
    results = Results.load(prepared / "run" / "after")
    source = str(prepared / "data" / "table.csv")

    def samples(*texts: str) -> Callable[[Path], tuple[str, ...]]:
        return lambda _: texts

    def guard(text: str, _: Path) -> None:
        check_guards([parse_guard(text)], results)

    def template(text: str, _: Path) -> None:
        tokenizer.chat_template = text
        encoder = Encoder(tokenizer, "chat")
        encoder.encode_prompt("Who?")
        encoder.encode(Example("Who?", "Nobody at all."))

    def target(text: str, _: Path) -> None:
        covered = target_filter(text)
        for name in _NAMES:
            covered(name, "mlp")

    def config(text: str, folder: Path) -> None:
        path = folder / "config.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        read_config(path)

    def command(text: str, folder: Path) -> None:
        path = folder / "config.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        _command(
            "locate", str(prepared / "scores"), "--config", str(path), "-o", str(folder / "o"), "-q"
        )

    def arguments(text: str, folder: Path) -> None:
        _command(*text.split("\n"), "-q")

    tokenizer = build_tokenizer()
    options = "couple: [fairness, privacy]\nexclude: [general]\nratio: 0.05\nscale: 0.5\nseed: 3\n"
    more = "num-samples: 5\ntarget-modules: 'mlp|q_proj'\ndata:\n  - general=x.csv\nquiet: true\n"
    locating = "\n--couple\nfairness\n--couple\nprivacy\n-o\n/nowhere/at/all\n"
    return [
        TextReader("guard", 6, samples(
            "perplexity<=20.5", "fairness>=0.1", "awareness/fairness<0.9", "over_refusal<=1e-1",
            "fairness>=baseline+0.05", "margin>=0.9x"), guard),
        TextReader("source", 6, samples(
            f"{source}?prompt=prompt&response=response&where=aware=yes", "hub:a/b@main?split=test",
            "bundled:fairness", f"{source}?where=prompt|response~=a|b"),
            lambda text, _: Source.parse(text)),
        TextReader("named-source", 3, samples("fairness=a.csv", "general=hub:a/b?split=train"),
                   lambda t, _: named_sources([t], "--data")),
        TextReader("suite", 2, samples(f"fairness={source}", f"harmless:fairness={source}",
                   "donotanswer:x.whl", "salad"), lambda t, _: load_suite(t)),
        TextReader("judge-option", 4, samples("heuristic", "heuristic:name=x", "embedding:folder",
                   "openai:url=http://localhost:1/v1,model=m", "qwen3guard:model=x,batch-size=3"),
                   lambda t, _: get_judge(t)),
        TextReader("target", 6, samples("mlp", "down_proj|up_proj", r"model\.layers\.\d+\.mlp\..*",
                   "(a|a)*b", ".*proj"), target),
        TextReader("memory-limit", 2, samples("8GiB", "2e9", "800M"), lambda t, _: parse_size(t)),
        TextReader("template", 4, samples(CHAT_TEMPLATE), template),
        TextReader("config", 8, samples(options, more), config),
        TextReader("config-command", 0.7, samples(options), command),
        TextReader("arguments", 0.7, samples(
            f"locate{locating}--ratio\n0.1\n--scale\n0.5\n--seed\n3",
            "score\nnowhere/at/all\n--data\na=b.csv\n-o\n/nowhere\n--shortlist\n0.1\n--max-length\n9",
            "compare\n/nowhere\n/nowhere\n--seed\n1", "inspect\n/nowhere/at\n--show\n3",
            "evaluate\n/nowhere/at\n-o\n/nowhere\n--temperature\n0.5\n--limit\n3\n--batch-size\n4"),
            arguments),
    ]  # fmt: skip


def _of_models(prepared: Path) -> list[Reader]:
    def load(folder: Path) -> None:
        loaded = load_model(folder, _CPU)
        encoder = Encoder(loaded.tokenizer, "auto")
        encoder.encode(Example("Who?", "Nobody at all."))

    def gguf(folder: Path) -> None:
        load_model(folder / "tiny.gguf", _CPU)

    def make(folder: Path) -> None:
        write_gguf(folder / "tiny.gguf")

    whole = copied(prepared, "model")

    def model(folder: Path) -> None:
        load(folder / "model")

    return [
        FolderReader("model-config", 0.3, whole, model, "*config.json"),
        FolderReader("tokenizer", 0.2, whole, model, "*token*"),
        FolderReader("checkpoint", 0.3, whole, model, "*.safetensors"),
        FolderReader("gguf", 0.15, make, gguf),
    ]
