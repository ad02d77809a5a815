"""Whole commands on a tiny model: what they print, write and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from declutch.cli import build_app
from declutch.cli.running import run_command
from declutch.patching import Patch


def call(*arguments: object) -> int:
    return run_command(build_app(), [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def out(
    model_folder: Path, data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A whole run."""
    folder = tmp_path_factory.mktemp("run") / "out"
    assert call(*run_arguments(model_folder, data), "-o", folder, "-q") == 0
    return folder


def run_arguments(model_folder: Path, data: dict[str, Path], **changes: object) -> list[object]:
    options: dict[str, object] = {
        "ratio": 0.02,
        "num-samples": 6,
        "shortlist": 0.1,
        "limit": 2,
        "max-new-tokens": 4,
    }
    options |= changes
    return [
        "run", model_folder,
        "--couple", f"fairness={data['fairness']}", "--couple", f"privacy={data['privacy']}",
        "--exclude", f"general={data['general']}",
        *(part for name, value in options.items() for part in (f"--{name}", value)),
    ]  # fmt: skip


def parameters(folder: Path) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def test_run_leaves_everything_and_the_checkpoint_is_the_patched_one(
    out: Path, model_folder: Path
) -> None:
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert names == {
        "run.json", "scores", "patch", "model", "before", "after", "report.html", "figures",
    }  # fmt: skip
    assert (out / "model" / "LICENSE").exists()
    assert (out / "model" / "README.md").exists()
    patch = Patch.load(out / "patch")
    assert len(patch) > 0
    before, after = parameters(model_folder), parameters(out / "model")
    for name, values in before.items():
        expected = values.clone()
        matrix = name.removesuffix(".weight")
        if matrix in patch.indices:
            expected.view(-1)[patch.indices[matrix]] = 0
        assert torch.equal(after[name], expected), name


def test_run_goes_on_and_names_a_changed_setting(
    out: Path,
    model_folder: Path,
    data: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = (out / "after" / "replies.jsonl").read_bytes()
    (out / "after" / "results.json").unlink()
    (out / "report.html").unlink()
    assert call(*run_arguments(model_folder, data), "-o", out, "-q") == 0
    assert (out / "after" / "replies.jsonl").read_bytes() == before
    assert (out / "report.html").exists()
    assert call(*run_arguments(model_folder, data, ratio=0.03), "-o", out, "-q") == 2
    assert "locate.ratio was 0.02 and is now 0.03" in " ".join(capsys.readouterr().err.split())


def test_steps_by_themselves(
    model_folder: Path, data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [part for name, path in data.items() for part in ("--data", f"{name}={path}")]
    options = ["--num-samples", 6, "--shortlist", 0.1, "--target-modules", "all", "-q"]
    assert call("score", model_folder, *sources, *options, "-o", tmp_path / "scores") == 0
    assert "fairness" in capsys.readouterr().out
    choice = [
        "--couple", "fairness", "--couple", "privacy", "--exclude", "general", "--ratio", 0.02,
    ]  # fmt: skip
    locate = ["locate", tmp_path / "scores", *choice]
    assert call(*locate, "--target-modules", "mlp", "-o", tmp_path / "patch", "--json") == 0
    assert json.loads(capsys.readouterr().out)["target_modules"] == "mlp"
    neurons = [*locate[:6], "--granularity", "neuron", "--rule", "union", "--ratio", 0.1]
    # The model is read from where it was scored.
    assert call(*neurons, "-o", tmp_path / "neurons", "-q") == 0
    assert "Suppressed neurons" in capsys.readouterr().out
    assert Patch.load(tmp_path / "neurons").info.units
    elsewhere = ["--model", tmp_path / "nothing"]
    assert call(*neurons, *elsewhere, "-o", tmp_path / "none", "-q") == 2
    capsys.readouterr()
    patch = tmp_path / "patch"
    assert call("apply", model_folder, patch, "-o", tmp_path / "patched", "-q") == 0
    assert call("revert", tmp_path / "patched", patch, "-o", tmp_path / "again", "-q") == 0
    before, again = parameters(model_folder), parameters(tmp_path / "again")
    assert all(torch.equal(before[name], again[name]) for name in before)
    capsys.readouterr()
    # The patch is of the original; the patched model carries it already.
    assert call("apply", tmp_path / "patched", patch, "-o", tmp_path / "twice", "-q") == 2
    assert "applied to this model already" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "twice").exists()


def test_inspect_shows_tokens_and_costs(
    model_folder: Path, data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"fairness={data['fairness']}"
    common = ["inspect", model_folder, "--data", source, "--num-samples", 4, "-q"]
    assert call(*common) == 0
    text = capsys.readouterr().out
    assert "gate_proj" in text
    assert "[<|end|>]" not in text  # the end mark is counted together with the response
    assert "Memory:" in text
    assert call(*common, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    shown = found["dimensions"][0]["shown"][0]
    counted = "".join(
        token for token, inside in zip(shown["tokens"], shown["counted"], strict=True) if inside
    )
    assert counted.endswith(".<|end|>")
    assert counted.startswith("The ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "MODEL", "--couple", "fairness", "-o", "OUT"], "write NAME=SOURCE"),
        (["run", "MODEL", "--couple", "a=DATA", "-o", "OUT"], "Two or more dimensions"),
        (["run", "nowhere/at/all", "--couple", "a=DATA", "--couple", "b=DATA2", "-o", "OUT",
          "--allow-fewer"],
         "there is no such folder"),
        (["run", "MODEL", "--couple", "a=missing.csv", "--couple", "b=DATA", "--ratio", "0.1",
          "-o", "OUT"], "missing.csv"),
        (["run", "MODEL", "--couple", "a=DATA", "--couple", "b=DATA2", "--ratio", "0.1", "-o",
          "OUT"], "--allow-fewer"),
        (["run", "MODEL", "--couple", "a=DATA", "--couple", "b=DATA2", "--num-samples", "6",
          "-o", "OUT"], "The smallest ratio that selects something"),
        (["score", "MODEL", "--data", "a=DATA", "--dtype", "float8", "-o", "OUT"], "float8"),
        (["locate", "OUT", "--couple", "a", "--couple", "b", "-o", "OUT2"], "does not exist"),
        (["apply", "MODEL", "OUT", "-o", "OUT2"], "does not exist"),
        (["nonsense"], "nonsense"),
        (["run", "MODEL", "--couple", "a=DATA", "-o", "OUT", "--confg", "x"], "--confg"),
    ],
)  # fmt: skip
def test_wrong_input_gets_one_paragraph(
    arguments: list[str],
    words: str,
    model_folder: Path,
    data: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {
        "MODEL": str(model_folder),
        "DATA2": str(data["privacy"]),
        "DATA": str(data["fairness"]),
        "OUT2": str(tmp_path / "out2"),
        "OUT": str(tmp_path / "out"),
    }
    for placeholder, value in places.items():
        arguments = [
            one.replace(placeholder, value) if placeholder in one.split("=") else one
            for one in arguments
        ]
    assert call(*arguments, "-q") == 2
    error = capsys.readouterr().err
    assert words in " ".join(error.split())
    assert error.startswith("declutch:")
    assert "Traceback" not in error
    assert "\n\n" not in error.strip()


def test_config_file_gives_options_and_flags_win(
    model_folder: Path, data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "options.yaml"
    config.write_text(
        f"data: ['general={data['general']}']\nnum-samples: 5\nseed: 3\nquiet: true\n",
        encoding="utf-8",
    )
    arguments = ["score", model_folder, "--config", config, "-o", tmp_path / "scores", "--json"]
    assert call(*arguments, "--seed", 4) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert (settings["num_samples"], settings["seed"]) == (5, 4)
    config.write_text("num-sample: 5\n", encoding="utf-8")
    assert call(*arguments) == 2
    assert "num-sample" in capsys.readouterr().err
