from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from declutch.comparing.kinds import MEAN, PERPLEXITY, PROPORTION
from declutch.comparing.results import ModelRecord, Results
from declutch.comparing.series import Series
from declutch.errors import FileFormatError
from declutch.files import write_json, write_jsonl
from declutch.models.identity import MatrixInfo, ModelInfo
from declutch.patching import Patch, PatchInfo
from declutch.reporting.loading import count_parameters, load_input
from declutch.reporting.report import write_report
from tests.reporting.fakes import facts, write_safetensors

MODEL = {"id": "owner/tiny", "revision": None, "fingerprint": "f" * 64, "dtype": "float32"}


def write_results(folder: Path, aware: list[bool]) -> None:
    """An evaluation of one set of prompts, one judge, pairs and passages."""
    total = len(aware)
    margins = [0.1 * (number + sum(aware)) for number in range(total)]
    sets = [
        {"suite": "s", "set": "a", "kind": "awareness", "dimension": "a", "label": "a",
         "prompts": total},
    ]  # fmt: skip
    write_jsonl(
        folder / "replies.jsonl",
        [
            {"suite": "s", "set": "a", "id": str(number), "prompt": f"p{number}", "reply": "No.",
             "finish": "stop", "verdicts": {"j": {"verdict": "aware" if yes else "unaware",
                                                  "raw": "", "reason": ""}}}
            for number, yes in enumerate(aware)
        ],
    )  # fmt: skip
    write_jsonl(
        folder / "margin.jsonl",
        [{"set": "a", "id": str(i), "good": m - 1, "bad": -1.0, "margin": m}
         for i, m in enumerate(margins)],
    )  # fmt: skip
    write_jsonl(
        folder / "perplexity.jsonl",
        [{"set": "general", "id": str(n), "nll": 30.0 + n % 2 * 10, "tokens": 10 + n % 2 * 2}
         for n in range(6)],
    )  # fmt: skip
    series = {
        "awareness": Series(
            "awareness/a/j", PROPORTION, {str(n): yes for n, yes in enumerate(aware)}, "a", "j",
            better="higher",
        ),
        "margin": Series(
            "margin/a", MEAN, {str(n): m for n, m in enumerate(margins)}, "a", better="higher",
        ),
        "perplexity": Series(
            "perplexity/general", PERPLEXITY,
            {str(n): (30.0 + n % 2 * 10, 10 + n % 2 * 2) for n in range(6)},
        ),
    }  # fmt: skip
    Results(
        model=ModelRecord.model_validate(MODEL),
        settings={"sets": sets, "suite_sha256": "x", "judges": {"j": {}}},
        measures={name: facts(name) for name in series},
        metrics=tuple(each.metric(name) for name, each in series.items()),
    ).save(folder)


def change(path: Path, rows: list[dict[str, Any]]) -> None:
    """Other items, with results that were made of them."""
    write_jsonl(path, rows)
    Results.load(path.parent).save(path.parent)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of a run, as the other parts of declutch write it."""
    name = "model.layers.0.mlp.up_proj"
    info = PatchInfo(
        model=ModelInfo.model_validate(MODEL), rule="coupled", ratio=0.1, coupled=("a", "b"),
        target_modules="mlp", matrices={name: MatrixInfo(shape=(4, 8), layer=0, kind="mlp")},
    )  # fmt: skip
    patch = Patch(info, {name: torch.tensor([1, 5])}, {name: torch.tensor([0.5, -0.5])})
    patch._sealed().save(tmp_path / "patch")
    write_results(tmp_path / "before", [True, False, False, True, True, False])
    write_results(tmp_path / "after", [True, True, False, True, True, False])
    return tmp_path


def test_whole_report_from_the_files(out: Path) -> None:
    write_json(
        out / "scores" / "scores.json",
        {"dimensions": {"a": {"source": "bundled:a", "sha256": "ab", "examples": 4, "tokens": 40,
                              "seconds": 0.1}}, "settings": {"seed": 0}},
    )  # fmt: skip
    write_safetensors(out / "model" / "model.safetensors", {"w": [4, 8], "v": [8]})
    paths = write_report(out)
    assert paths.html == out / "report.html"
    assert paths.card == out / "model" / "README.md"
    assert paths.input.model_parameters == 40
    assert paths.input.scored[0].tokens == 40
    assert paths.conclusion.outcome == "no detectable change"
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths.figures)
    names = {path.name for path in paths.figures}
    assert {"awareness.png", "coupled-neurons.png", "margins.png"} <= names
    text = paths.html.read_text(encoding="utf-8")
    assert "2 of 32 weights" in text
    assert "unaware → aware: 1 prompt<" in text
    left_over = [path.name for path in out.rglob("*") if ".part" in path.name]
    assert left_over == []


def test_a_report_of_too_few_prompts_says_so(out: Path) -> None:
    write_results(out / "before", [False, False])
    write_results(out / "after", [True, True])
    paths = write_report(out)
    assert paths.conclusion.outcome == "too few to tell"
    assert "too few to tell" in paths.html.read_text(encoding="utf-8")


def test_without_scores_and_checkpoint(out: Path) -> None:
    paths = write_report(out)
    assert paths.card is None
    assert paths.input.scored == ()
    assert not (out / "model").exists()


def test_written_again_it_is_the_same(out: Path) -> None:
    first = write_report(out)
    content = first.html.read_bytes(), [path.read_bytes() for path in first.figures]
    first.figures[0].write_bytes(b"something older")
    second = write_report(out)
    assert (second.html.read_bytes(), [path.read_bytes() for path in second.figures]) == content


def test_missing_files_are_all_named_with_their_commands(out: Path) -> None:
    (out / "patch" / "patch.json").unlink()
    (out / "after" / "results.json").unlink()
    with pytest.raises(FileFormatError) as error:
        load_input(out)
    message = str(error.value)
    assert "patch/patch.json, after/results.json are missing" in message
    assert "declutch evaluate MODEL --patch" in message
    assert "before/results.json" not in message


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="There is no folder"):
        write_report(tmp_path / "nothing")


def test_pairs_are_matched_by_id(out: Path) -> None:
    rows = [
        {"suite": "s", "set": "a", "id": key, "prompt": text, "reply": "r", "finish": "length",
         "verdicts": {"j": {"verdict": "aware", "raw": "", "reason": ""}}}
        for key, text in (("3", "p3"), ("9", "p9"), ("0", "p0"), ("1", "another"))
    ]  # fmt: skip
    change(out / "after" / "replies.jsonl", rows)
    item = {"set": "a", "id": "1", "good": 0.0, "bad": -0.7, "margin": 0.7}
    change(out / "after" / "margin.jsonl", [item])
    found = load_input(out).comparison
    assert [(before.id, after.id) for before, after in found.replies] == [("0", "0"), ("3", "3")]
    assert found.replies[0][1].finish == "length"
    assert found.row("awareness/a/j").n_pairs == 2
    (pair,) = found.row("margin/a").pairs
    assert pair == pytest.approx((0.4, 0.7))


def test_rows_without_an_id_are_named(out: Path) -> None:
    change(out / "after" / "replies.jsonl", [{"prompt": "p"}])
    with pytest.raises(FileFormatError, match=r"replies\.jsonl, row 1"):
        load_input(out)


def test_parameters(tmp_path: Path) -> None:
    assert count_parameters(tmp_path) is None
    write_safetensors(tmp_path / "model-1.safetensors", {"a": [2, 3]})
    write_safetensors(tmp_path / "model-2.safetensors", {"b": [10], "scalar": []})
    assert count_parameters(tmp_path) == 17
    (tmp_path / "model-3.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(FileFormatError, match=r"model-3\.safetensors"):
        count_parameters(tmp_path)
