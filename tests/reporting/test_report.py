from __future__ import annotations

from pathlib import Path

import pytest
import torch

from declutch.comparing import results
from declutch.errors import FileFormatError
from declutch.files import write_json, write_jsonl
from declutch.models.identity import MatrixInfo, ModelInfo
from declutch.patching import Patch, PatchInfo
from declutch.reporting.loading import count_parameters, load_input, margin_pairs, reply_pairs
from declutch.reporting.report import write_report
from tests.reporting.fakes import write_safetensors

MODEL = {"id": "owner/tiny", "revision": None, "fingerprint": "f" * 64, "dtype": "float32"}


def write_results(folder: Path, aware: list[bool]) -> None:
    """An evaluation of one set of prompts, one judge, pairs and passages."""
    total = len(aware)
    margins = [0.1 * (number + sum(aware)) for number in range(total)]
    sets = [{"suite": "s", "set": "a", "kind": "awareness", "dimension": "a", "label": "a"}]
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
        folder / "margins.jsonl",
        [{"set": "a", "id": str(i), "margin": m} for i, m in enumerate(margins)],
    )  # fmt: skip
    write_jsonl(
        folder / "perplexity.jsonl",
        [{"set": "t", "id": str(n), "nll": 30.0 + n % 2 * 10, "tokens": 10 + n % 2 * 2}
         for n in range(6)],
    )  # fmt: skip
    results.Results(
        model=results.ModelRecord.model_validate(MODEL),
        settings={"sets": sets, "suite_sha256": "x"},
        metrics=(
            results.proportion(
                "awareness/a/j", sum(aware), total, group="awareness", dimension="a", judge="j",
                better="higher",
            ),
            results.mean("margin/a", margins, group="margin", dimension="a", better="higher"),
            results.perplexity("perplexity/t", [30.0, 40.0] * 3, [10, 12] * 3),
        ),
    ).save(folder)  # fmt: skip


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
    assert paths.verdict.outcome == "no detectable change"
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
    assert paths.verdict.outcome == "too few to tell"
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
        {"suite": "s", "set": "a", "id": key, "prompt": text, "reply": "r", "finish": "length"}
        for key, text in (("3", "p3"), ("9", "p9"), ("0", "p0"), ("1", "another"))
    ]
    write_jsonl(out / "after" / "replies.jsonl", rows)
    assert [pair.id for pair in reply_pairs(out)] == ["0", "3"]
    assert reply_pairs(out)[0].after.cut
    write_jsonl(out / "after" / "margins.jsonl", [{"set": "a", "id": "1", "margin": 0.7}])
    assert margin_pairs(out)["a"][0] == pytest.approx((0.4, 0.7))


def test_rows_without_an_id_are_named(out: Path) -> None:
    write_jsonl(out / "after" / "replies.jsonl", [{"prompt": "p"}])
    with pytest.raises(FileFormatError, match=r"replies\.jsonl, row 1"):
        reply_pairs(out)


def test_parameters(tmp_path: Path) -> None:
    assert count_parameters(tmp_path) is None
    write_safetensors(tmp_path / "model-1.safetensors", {"a": [2, 3]})
    write_safetensors(tmp_path / "model-2.safetensors", {"b": [10], "scalar": []})
    assert count_parameters(tmp_path) == 17
    (tmp_path / "model-3.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(FileFormatError, match=r"model-3\.safetensors"):
        count_parameters(tmp_path)
