"""Writes are whole or not at all; what is read names the place of an error."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from declutch.errors import FileFormatError
from declutch.files import (
    append_jsonl,
    atomic_path,
    changed_files,
    expanded,
    read_json,
    read_jsonl,
    sha256_file,
    sha256_json,
    write_json,
    write_jsonl,
    write_text,
)
from declutch.packages import package_files
from declutch.records import Record, read_record


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def tear() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tear()
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, float("nan"))
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert read_json(path) == {"old": 1}
    assert names(tmp_path) == ["a.json"]


def test_an_exception_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old").write_text("1")

    def tear() -> None:
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            (temporary / "new").write_text("2")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        tear()
    assert names(tmp_path) == ["model"]
    assert names(folder) == ["old"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for name in ("old", "new"):
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            (temporary / name).write_text("1")
    assert names(tmp_path) == ["model"]
    assert names(folder) == ["new"]


def test_parents_are_made_and_the_ending_is_kept(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a" / "b" / "c.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path / "a" / "b"
        temporary.write_bytes(b"x")
    assert (tmp_path / "a" / "b" / "c.png").read_bytes() == b"x"


def test_others_may_read_what_the_mask_lets_them(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a") as temporary:
        temporary.touch(mode=0o600)
    reference = tmp_path / "b"
    os.close(os.open(reference, os.O_CREAT | os.O_WRONLY, 0o666))
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", reference)]
    assert modes[0] == modes[1]


def test_json_is_for_people_too(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"é": "«x»"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "é": "«x»"\n}\n'


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe"])
def test_damaged_json(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"a\.json is not valid JSON"):
        read_json(tmp_path / "a.json")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    for read in (read_json, read_jsonl):
        with pytest.raises(FileFormatError, match=r"gone does not exist"):
            read(tmp_path / "gone")
        with pytest.raises(FileFormatError, match="can't be read"):
            read(tmp_path)


ROWS = st.lists(
    st.dictionaries(
        st.text(max_size=3), st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, data=st.data())
def test_a_torn_tail_loses_no_whole_row(
    rows: list[Any], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Wherever a killed process stopped writing, also within a character."""
    path = tmp_path_factory.mktemp("torn") / "rows.jsonl"
    write_jsonl(path, rows)
    assert read_jsonl(path) == rows
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = rows[: whole[:cut].count(b"\n")]
    assert read_jsonl(path, drop_torn_tail=True) == kept
    append_jsonl(path, [{"next": "é"}])
    append_jsonl(path, [])
    assert read_jsonl(path) == [*kept, {"next": "é"}]


def test_a_long_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b": "' + b"x" * 20_000)
    append_jsonl(path, [{"c": 3}])
    assert read_jsonl(path) == [{"a": 1}, {"c": 3}]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n{"b"\n')
    with pytest.raises(FileFormatError, match=r"rows\.jsonl, line 3: not valid JSON"):
        read_jsonl(path)
    with pytest.raises(FileFormatError, match="line 3"):
        read_jsonl(path, drop_torn_tail=True)  # damaged, not torn
    path.write_bytes(b'{"a": 1}\n"\xff"\n')
    with pytest.raises(FileFormatError, match="line 2"):
        read_jsonl(path)


def test_line_separators_within_a_row(tmp_path: Path) -> None:
    rows = [{"text": "one\u2028two\x85three\r\n"}]
    write_jsonl(tmp_path / "a.jsonl", rows)
    assert read_jsonl(tmp_path / "a.jsonl") == rows


def test_checksums(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a").startswith("ba7816bf8f01cfea")
    assert sha256_json({"b": 1, "a": "é"}) == sha256_json({"a": "é", "b": 1})
    assert sha256_json([1, 2]) != sha256_json([2, 1])


class Fact(Record):
    format_version: int = 1
    name: str


def test_records(tmp_path: Path) -> None:
    path = tmp_path / "fact.json"
    write_json(path, Fact(name="x").model_dump())
    assert read_record(path, Fact, 1) == Fact(name="x")
    with pytest.raises(FileFormatError, match="format_version 1; this declutch reads 2"):
        read_record(path, Fact, 2)
    for value, reason in [
        ({"format_version": 1}, "name: Field required"),
        ({"format_version": 1, "name": "x", "extra": 1}, "extra: Extra inputs"),
    ]:
        path.write_text(json.dumps(value))
        with pytest.raises(FileFormatError, match=reason):
            read_record(path, Fact, 1)
    path.write_text("[]")
    with pytest.raises(FileFormatError, match="format_version None"):
        read_record(path, Fact, 1)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 6000,
        b'{"a": NaN}',
        b"[-Infinity]",
        b"1e400",
        b'"\\ud800"',
        b'{"\\udfff": 1}',
        "1".encode("utf-16"),
        b"",
    ],
)
def test_json_that_could_not_be_used_or_written_again(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(FileFormatError, match=r"a\.json is not valid JSON"):
        read_json(path)
    path.write_bytes(b"{}\n" + text.replace(b"\n", b"") + b"x\n")
    with pytest.raises(FileFormatError, match="line 2: not valid JSON"):
        read_jsonl(path)


def test_a_whole_pair_of_surrogates_is_a_character(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'"\\ud83d\\ude00"')
    assert read_json(tmp_path / "a.json") == "\U0001f600"


def test_a_file_whose_name_can_not_be_is_a_changed_one(tmp_path: Path) -> None:
    assert changed_files(tmp_path, {"a" * 400: "0" * 64}) == ["a" * 400]


def test_a_tilde_that_stands_for_nobody_is_left(tmp_path: Path) -> None:
    assert expanded("~no-such-user-at-all/x") == Path("~no-such-user-at-all/x")
    assert expanded("~/x") == Path.home() / "x"


@pytest.mark.parametrize("name", ["x" * 5000, "a/" * 3000, "a\0b"])
def test_names_that_no_folder_can_have_are_of_no_package(name: str) -> None:
    assert package_files("declutch", "", "py.typed", name) is None
