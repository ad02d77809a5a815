from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from declutch.data.sources import KEYS, Source
from declutch.errors import DataError

BEAVERTAILS = (
    "hub:PKU-Alignment/BeaverTails?split=330k_train"
    "&where=category.privacy_violation=true&where=is_safe=true"
)


def test_hub_text_is_understood() -> None:
    source = Source.parse(BEAVERTAILS)
    assert source.kind == "hub"
    assert source.name == "PKU-Alignment/BeaverTails"
    assert source.split == "330k_train"
    assert source.where == ("category.privacy_violation=true", "is_safe=true")


def test_a_value_may_hold_equals_blanks_and_question_marks() -> None:
    source = Source.parse(
        "hub:OpenSafetyLab/Salad-Data?config=base_set&prompt=question"
        "&where=2-category=O9: Privacy Infringement&where=question=why?"
    )
    assert source.config == "base_set"
    assert source.prompt_column == "question"
    assert source.where == ("2-category=O9: Privacy Infringement", "question=why?")


def test_revision_after_at_or_as_a_key() -> None:
    after_at = Source.parse("hub:a/b@refs/convert/parquet?split=test")
    assert after_at == Source.parse("hub:a/b?split=test&revision=refs/convert/parquet")
    assert str(after_at) == "hub:a/b@refs/convert/parquet?split=test"
    with pytest.raises(DataError, match="Leave one out"):
        Source.parse("hub:a/b@one?revision=two")


@pytest.mark.parametrize(
    "source",
    [
        Source.parse(BEAVERTAILS),
        Source.parse("data.csv"),
        Source.parse("bundled:privacy?where=form=question"),
        Source(
            path="odd %3F name?100%25.csv",
            prompt_column="a&b=c?",
            response_column="100% + more",
            bad_response_column="ü",
            where=("x|y=1&2|%26", "z=", "a!~=b", "end=blank "),
        ),
        Source(path="hub:a/b", revision="v1.0", config="c d", split="train[:10%]"),
    ],
    ids=str,
)
def test_text_form_round_trips(source: Source) -> None:
    assert Source.parse(str(source)) == source


def test_dumped_fields_make_the_same_source() -> None:
    source = Source.parse("a.csv?prompt=q&response=r&where=x=1")
    assert Source.parse(source.model_dump()) == source
    assert Source.model_validate_json(source.model_dump_json()) == source


@pytest.mark.parametrize(
    ("given", "same_as"),
    [
        ({"path": "a.csv", "prompt": "q", "where": "x=1"}, "a.csv?prompt=q&where=x=1"),
        ({"path": "a.csv", "where": ["x=1", "y=2"]}, "a.csv?where=x=1&where=y=2"),
        (
            {"path": "hub:a/b@v1", "where": {"is_safe": True, "kind": ["p", 3]}},
            "hub:a/b@v1?where=is_safe=true&where=kind=p|3",
        ),
        (
            {"path": "a.csv", "where": {"r~": "privacy", "s!": "x"}},
            "a.csv?where=r~=privacy&where=s!=x",
        ),
        ({"path": Path("a.csv")}, "a.csv"),
        (Path("a.csv"), "a.csv"),
    ],
)
def test_a_mapping_says_the_same_as_text(given: Any, same_as: str) -> None:
    assert Source.parse(given) == Source.parse(same_as)


def test_a_settings_class_takes_text_or_mapping() -> None:
    class Settings(BaseModel):
        data: dict[str, Source]

    settings = Settings.model_validate({"data": {"a": "x.csv?prompt=q", "b": {"path": "y.json"}}})
    assert settings.data["a"].prompt_column == "q"
    assert settings.data["b"].path == "y.json"


def test_a_question_mark_in_a_file_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Source.parse("what?.csv").path == "what?.csv"
    assert Source.parse("what?.csv?prompt=q") == Source(path="what?.csv", prompt_column="q")
    # Not there, so that what follows «?» is taken for keys.
    with pytest.raises(DataError, match="unknown key «x»"):
        Source.parse("a.csv?x=1.csv")
    Path("a.csv?x=1.csv").touch()
    assert Source.parse("a.csv?x=1.csv").path == "a.csv?x=1.csv"
    assert Source.parse("a.csv%3Fx=1.csv").path == "a.csv?x=1.csv"


def test_equals_in_a_file_name_is_no_key() -> None:
    assert Source.parse("runs/lr=3e-4/pairs.jsonl").path == "runs/lr=3e-4/pairs.jsonl"


def test_unknown_key_lists_the_keys() -> None:
    for wrong in ("a.csv?promt=q", {"path": "a.csv", "promt": "q"}):
        with pytest.raises(DataError, match="promt") as caught:
            Source.parse(wrong)
        assert all(key in str(caught.value) for key in KEYS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("notes.txt", r"\.csv, \.json, \.jsonl, \.ndjson, \.parquet"),
        ("yahma/alpaca-cleaned", "write hub:yahma/alpaca-cleaned"),
        ("https://huggingface.co/datasets/a/b/viewer", "write hub:a/b"),
        ("privacy", "write bundled:privacy"),
        ("bundled:secrets", "fairness, privacy, general"),
        ("hub:just-a-name", "OWNER/NAME"),
        ("", "empty"),
        ("a.csv?prompt=", "no value"),
        ("a.csv?prompt=a&prompt=b", "twice"),
        ("a.csv?where=safe", "where=COLUMN=VALUE"),
        ("a.csv?where=x=a & b", "%26"),
        ("a.csv?split=test", "leave out split=test"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        Source.parse(text)
    assert "\n" not in str(caught.value)


def test_a_value_of_the_wrong_type_is_a_data_error() -> None:
    with pytest.raises(DataError, match="path"):
        Source.parse({"path": 3})


def test_keys_and_values_in_where_that_are_none() -> None:
    for key in (True, 1, None):
        with pytest.raises(DataError, match="in quotes"):
            Source.parse({"path": "a.csv", "where": {key: "x"}})
    for value in ({"privacy": True}, [["x"]]):
        with pytest.raises(DataError, match="with a dot"):
            Source.parse({"path": "a.csv", "where": {"category": value}})
