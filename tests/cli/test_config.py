"""The YAML file of ``--config``: sources as mappings, and what is wrong in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from declutch.cli.config import read_config
from declutch.errors import DeclutchError
from tests.cli.test_commands import call


def config(folder: Path, text: str | bytes) -> Path:
    path = folder / "options.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_sources_as_mappings(tmp_path: Path) -> None:
    options = {
        "data": {
            "fairness": {"path": "a&b.csv", "prompt": "q", "where": {"safe": True, "n": [1, None]}},
            "privacy": "hub:a/b?split=test",
        },
        "suite": {"harmless:privacy": {"path": "bundled:harmless_privacy"}},
        "couple": ["fairness=a.csv"],
        "seed": 3,
    }
    assert read_config(config(tmp_path, yaml.safe_dump(options, sort_keys=False))) == {
        "data": [
            "fairness=a&b.csv?prompt=q&where=safe=true&where=n=1|",
            "privacy=hub:a/b?split=test",
        ],
        "suite": ["harmless:privacy=bundled:harmless_privacy"],
        "couple": ["fairness=a.csv"],
        "seed": 3,
    }


def test_a_command_takes_them(
    model_folder: Path, data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = {"path": str(data["general"]), "where": {"prompt!~": "0"}}
    path = config(tmp_path, yaml.safe_dump({"data": {"general": source}, "num-samples": 5}))
    arguments = ["score", model_folder, "--config", path, "-o", tmp_path / "scores", "--json"]
    assert call(*arguments) == 0
    found = json.loads(capsys.readouterr().out)["dimensions"]["general"]
    assert found["source"] == f"{data['general']}?where=prompt!~=0"


def test_an_empty_file_gives_nothing(tmp_path: Path) -> None:
    assert read_config(config(tmp_path, "# nothing yet\n")) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("data: [a, b\n", "line 2, column 1: not valid YAML"),
        ("a: b: c\n", "line 1, column 5: not valid YAML"),
        ("- data\n", "a mapping from names to values"),
        ("1: 2\n", "the key 1 is no text"),
        ("data:\n  no: a.csv\n", "data: the key False is no text"),
        ("data:\n  x:\n    pth: a.csv\n", "data, x: A data source has the unknown key «pth»"),
        ("data:\n  x: 3\n", "data, x: The data source 3 can't be understood"),
        (
            "data:\n  x:\n    path: a.csv\n    where: {yes: 1}\n",
            "data, x, where: the key True is no text",
        ),
        ("seed: 2024-99-99\n", "not valid YAML: month must be in 1..12"),
        ("a: \0\n", "line 1: not valid YAML (the character 0x00"),
        (b"b: 1\na: \xff\n", "line 2: not valid YAML (the character 0xff"),
        ("a: " + "[" * 1200, "nested too deeply"),
        ("max-length: 9\nmax_length: 8\n", "twice, as «max-length» and as «max_length»"),
        ("seed: 1\nratio: 2\nseed: 1\n", "twice, as «seed» and as «seed»"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(DeclutchError, match=r"options\.yaml") as caught:
        read_config(config(tmp_path, text))
    assert says in str(caught.value)


@pytest.mark.parametrize("path", ["", "missing.yaml", "a" * 300, "a\0b", "/dev/zero"])
def test_a_file_that_can_not_be_read(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("score", "MODEL", "--config", path, "-o", tmp_path / "scores") == 2
    assert capsys.readouterr().err.startswith("declutch: --config")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("judge: nobody\n", "--judge «nobody» is unknown"),
        ("score: {seed: 3}\n", "Unknown option"),
        ("judg: nobody\n", "Did you mean --judge?"),
    ],
)
def test_no_option_is_passed_over_for_being_called_like_a_command(
    text: str, says: str, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config(tmp_path, text)
    for arguments in (
        ["evaluate", model_folder, "-o", tmp_path / "out", "--config", path],
        ["--config", path, "evaluate", model_folder, "-o", tmp_path / "out"],
    ):
        assert call(*arguments) == 2
        assert says in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / "out").exists()
