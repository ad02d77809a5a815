"""Hub data sets, read by ``datasets`` itself from folders laid out as on the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from declutch.data.hub import _explained, table_of_dataset
from declutch.data.loading import load_examples, load_table
from declutch.data.sources import Source
from declutch.errors import DataError

datasets = pytest.importorskip("datasets")

CATEGORIES = ("discrimination,stereotype,injustice", "privacy_violation", "animal_abuse")


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def beavertails(tmp_path: Path) -> Path:
    rows = [
        {
            "prompt": f"p{number}",
            "response": f"r{number}",
            "category": {name: number % 3 == place for place, name in enumerate(CATEGORIES)},
            "is_safe": number % 2 == 0,
        }
        for number in range(60)
    ]
    return _repository(
        tmp_path / "PKU-Alignment" / "BeaverTails",
        {"train.jsonl": rows},
        [
            {
                "config_name": "default",
                "data_files": [{"split": "330k_train", "path": "train.jsonl"}],
            }
        ],
    )


@pytest.fixture
def salad(tmp_path: Path) -> Path:
    kinds = ("O2: Unfair Representation", "O9: Privacy Infringement")
    rows = [
        {
            "qid": number,
            "question": f"q{number}",
            "1-category": "O",
            "2-category": kinds[number % 2],
        }
        for number in range(20)
    ]
    return _repository(
        tmp_path / "OpenSafetyLab" / "Salad-Data",
        {"base.json": rows, "attack.json": rows[:2]},
        [
            {"config_name": name, "data_files": [{"split": "train", "path": f"{file}.json"}]}
            for name, file in (("base_set", "base"), ("attack_enhanced_set", "attack"))
        ],
    )


def _repository(folder: Path, files: dict[str, Any], configs: list[Any]) -> Path:
    folder.mkdir(parents=True)
    for name, rows in files.items():
        (folder / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    card = f"---\nconfigs: {json.dumps(configs)}\n---\n"
    (folder / "README.md").write_text(card, encoding="utf-8")
    return folder


@pytest.mark.usefixtures("beavertails")
def test_beavertails_by_options_alone() -> None:
    data = load_examples(
        "hub:PKU-Alignment/BeaverTails?split=330k_train"
        "&where=category.privacy_violation=true&where=is_safe=true",
        num_samples=None,
    )
    expected = [f"p{number}" for number in range(60) if number % 3 == 1 and number % 2 == 0]
    assert [example.prompt for example in data.examples] == expected
    assert data.examples[0].id == "row-5"
    assert data.report.filtered == 50
    assert "from the folder" in data.report.lines()[-1]
    fair = load_examples(
        "hub:PKU-Alignment/BeaverTails?split=330k_train"
        "&where=category.discrimination,stereotype,injustice=true&where=is_safe=false",
        num_samples=None,
    )
    assert [example.prompt for example in fair.examples][:2] == ["p3", "p9"]


@pytest.mark.usefixtures("salad")
def test_salad_by_options_alone() -> None:
    data = load_examples(
        "hub:OpenSafetyLab/Salad-Data?config=base_set&where=2-category=O9: Privacy Infringement",
        num_samples=None,
        require_response=False,
    )
    assert [example.prompt for example in data.examples] == [f"q{n}" for n in range(1, 20, 2)]


@pytest.mark.usefixtures("beavertails", "salad")
def test_unknown_split_and_configuration_name_those_there() -> None:
    with pytest.raises(DataError, match=r"no split «train».*330k_train"):
        load_examples("hub:PKU-Alignment/BeaverTails")
    for query in ("", "?config=base"):
        with pytest.raises(DataError, match=r"config=NAME.*base_set"):
            load_examples(f"hub:OpenSafetyLab/Salad-Data{query}")


def test_out_of_reach() -> None:
    with pytest.raises(DataError, match="can't be reached") as caught:
        load_examples("hub:nobody/nothing")
    assert "hf download --repo-type dataset nobody/nothing" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            datasets.exceptions.DatasetNotFoundError(
                "Dataset 'a/b' is a gated dataset on the Hub."
            ),
            "hf auth login",
        ),
        (
            datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub."),
            "exact name",
        ),
        (RuntimeError("Dataset scripts are no longer supported, but found b.py"), "@refs/convert"),
        (OSError("disk\nfull"), "can't be read: disk full"),
    ],
)
def test_what_the_hub_says_is_explained(error: Exception, says: str) -> None:
    explained = _explained(Source.parse("hub:a/b"), error)
    assert says in explained
    assert "\n" not in explained


def test_parquet_folder_with_named_values(tmp_path: Path) -> None:
    rows = {"question": ["a", "b"], "answer": ["x", "y"], "meta": [{"ok": True}, {"ok": False}]}
    made = datasets.Dataset.from_dict(rows)
    (tmp_path / "local").mkdir()
    made.to_parquet(tmp_path / "local" / "train.parquet")
    loaded = datasets.load_dataset(str(tmp_path / "local"), split="train")
    source = Source.parse("hub:local/local?where=meta.ok=false")
    data = load_table(table_of_dataset(loaded, "local"), source, num_samples=1)
    assert [(e.prompt, e.response) for e in data.examples] == [("b", "y")]
    file = load_examples(f"{tmp_path}/local/train.parquet?where=meta.ok=false", num_samples=1)
    assert file.sha256 == data.sha256


def test_a_data_set_that_breaks_off_is_a_data_error() -> None:
    class Broken:
        column_names = ("prompt",)

        def with_format(self, kind: None) -> Broken:
            return self

        def iter(self, batch_size: int) -> Iterator[dict[str, list[str]]]:
            yield {"prompt": ["a"]}
            raise OSError("cut\nshort")

        def __len__(self) -> int:
            return 2

    rows = iter(table_of_dataset(Broken(), "a/b").rows)
    assert next(rows) == {"prompt": "a"}
    with pytest.raises(DataError, match="a/b can't be read to its end: cut short"):
        next(rows)
