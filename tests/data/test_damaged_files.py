"""Files as they come from spreadsheets, downloads and mistakes: read, or refused with the place."""

from __future__ import annotations

import gzip
import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from declutch.data import file_text
from declutch.data.loading import load_examples
from declutch.data.reading import read_file
from declutch.errors import DataError, DeclutchError

CSV = "prompt,response\na,b\nc,dé\n"
ROWS = [{"prompt": "a", "response": "b"}, {"prompt": "c", "response": "dé"}]


def written(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def refusal(path: str, query: str = "") -> str:
    with pytest.raises(DataError) as caught:
        load_examples(path + query, num_samples=None)
    message = str(caught.value)
    message.encode("utf-8")
    assert "\n" not in message
    return message


# Read


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_with_a_mark(tmp_path: Path, encoding: str) -> None:
    assert list(read_file(written(tmp_path, "a.csv", CSV.encode(encoding))).rows) == ROWS


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "A.CSV.GZ"])
def test_gzip_by_what_it_holds(tmp_path: Path, name: str) -> None:
    data = load_examples(written(tmp_path, name, gzip.compress(CSV.encode())), num_samples=None)
    assert [example.response for example in data.examples] == ["b", "dé"]


def test_gzip_of_jsonl_with_options(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl.gz", gzip.compress(b'{"q": "p", "response": "r"}\n'))
    assert load_examples(f"{path}?prompt=q", num_samples=None).examples[0].prompt == "p"


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("prompt;response\na, b;c, d, e\n", "the fields are parted by semicolons"),
        ("prompt\tresponse\na, b\tc, d, e\n", "the fields are parted by tabs"),
        ('prompt;response\n"a, b";"c, d, e"\n', "the fields are parted by semicolons"),
        ('prompt,response\n"a, b","c, d, e"\n', ""),
    ],
)
def test_what_parts_the_fields(tmp_path: Path, text: str, note: str) -> None:
    table = read_file(written(tmp_path, "a.csv", text))
    assert list(table.rows) == [{"prompt": "a, b", "response": "c, d, e"}]
    assert table.note == note


def test_a_header_with_a_comma_in_a_semicolon_file(tmp_path: Path) -> None:
    table = read_file(written(tmp_path, "a.csv", "prompt;response;note, if any\na;b;c\n"))
    assert table.columns == ("prompt", "response", "note, if any")


def test_blanks_around_column_names_do_not_matter(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "prompt, Response \np,r\n")
    assert load_examples(path, num_samples=None).examples[0].response == "r"


def test_a_json_list_under_the_ending_of_jsonl(tmp_path: Path) -> None:
    for text in (json.dumps(ROWS), json.dumps(ROWS, indent=2)):
        assert list(read_file(written(tmp_path, "a.jsonl", text)).rows) == ROWS


def test_a_nan_is_nothing(tmp_path: Path) -> None:
    text = '{"prompt": "p", "response": NaN}\n{"prompt": "q", "response": "r", "score": NaN}\n'
    report = load_examples(written(tmp_path, "a.jsonl", text), num_samples=None).report
    assert (report.empty_response_rows, report.used) == ((1,), 1)


def test_bytes_numbers_and_dates_in_parquet_become_text(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"prompt": "é".encode(), "response": date(2020, 1, 2), "kind": b"x", "id": 7}]
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.Table.from_pylist(rows), path)
    (example,) = load_examples(f"{path}?where=kind=x", num_samples=None).examples
    assert (example.prompt, example.response, example.id) == ("é", "2020-01-02", "7")


# Refused


DEEP = "[" * 5000 + "]" * 5000


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": "\\ud800"}\n', "line 2: the text holds half of a surrogate"),
        ("a.jsonl", '{"\\udfff": 1}\n', "line 1: the text holds half of a surrogate"),
        ("a.json", '[{"a": {"b": ["\\ud800"]}}]', "row 1: the text holds half of a surrogate"),
        ("a.jsonl", f'{{"a": 1}}\n{{"a": {DEEP}}}\n', "line 2: lists or objects are nested too"),
        ("a.json", f"[\n{DEEP}\n]", "lines 1 to 3: lists or objects are nested too deep"),
        ("a.jsonl", '{"a": 1}\n{"a": ' + "9" * 6000 + "}\n", "line 2: a number has too many"),
        ("a.json", '[{"a":\n' + "9" * 6000 + "}]", "line 2: a number has too many digits"),
        ("a.jsonl", '{"prompt": "p", "response": Infinity}', "row 1, column «response»: an inf"),
        ("a.jsonl", '{"prompt": "p", "response": 1e999}', "row 1, column «response»: an inf"),
        ("a.jsonl", '{"a": 1}\n{"a": 1, "a": 2}\n', "line 2: an object has the key «a» twice"),
        ("a.json", '[{"a": 1,\n"a": 2}]', "lines 1 to 2: an object has the key «a» twice"),
        ("a.jsonl", '{"a": 1}\n{"a": "x"\n', "line 2, column 10"),
        ("a.jsonl", '[{"a": 1},\n{"a": }]', "line 2, column 7"),
        ("a.csv", 'prompt,response\na,"b"c\n', "line 2: not valid CSV"),
        ("a.csv", 'prompt,response\na,"b\nc,d\n', "line 2: not valid CSV (a double quote is"),
        ("a.csv", "prompt;response\na;b\nc;d;e\n", "3 fields where the header has 2 («prompt» and"),
        ("a.csv", "prompt;response\na;b\nc;d;e\n", "parted by semicolons"),
        ("a.csv", b"prompt,response\na,\0b\n", "line 2: a NUL"),
        ("a.csv", CSV.encode("utf-16-le"), "UTF-16 without a mark"),
        ("a.csv", CSV.encode("utf-16")[:-1], "begins like UTF-16 and is damaged"),
        ("a.csv", gzip.compress(CSV.encode(), mtime=0)[:-9], "packed with gzip and damaged"),
        ("a.csv", b"\x1f\x8bnot so", "packed with gzip and damaged"),
        ("a.csv", b"PK\x03\x04....", "a workbook of a spreadsheet program"),
        ("a.jsonl", b"PAR1....", "give its name the ending .parquet"),
        ("a.json", b"BZh9....", "bunzip2"),
        ("a.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("a.parquet", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("a.parquet", b"PAR1" + bytes(40) + b"PAR1", "not a whole Parquet file"),
        ("a.parquet", b"", "not a whole Parquet file"),
        ("a.json", b"", "a.json is empty"),
        ("a.jsonl", b"\n \n", "a.jsonl is empty"),
        ("a.csv", b"", "a.csv is empty"),
    ],
)  # fmt: skip
def test_damage_is_named_with_its_place(
    tmp_path: Path, name: str, content: str | bytes, says: str
) -> None:
    if name.endswith("parquet") and b"PAR1" in (content if isinstance(content, bytes) else b""):
        pytest.importorskip("pyarrow")
    assert says in refusal(written(tmp_path, name, content))


def test_columns_there_twice(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    twice = arrow.table([["a"], ["b"], ["c"]], names=["prompt", "response", "response"])
    parquet.write_table(twice, tmp_path / "a.parquet")
    assert "«response» is there more than once" in refusal(str(tmp_path / "a.parquet"))


def test_bytes_in_parquet_that_are_no_text(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = [{"prompt": b"p", "response": b"\xff"}]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert "row 1, column «response»: bytes that are not UTF-8" in refusal(
        str(tmp_path / "a.parquet")
    )


def test_very_many_and_very_long_names_are_shortened(tmp_path: Path) -> None:
    names = ",".join(f"column_{n}_{'x' * 100}" for n in range(5000))
    message = refusal(written(tmp_path, "a.csv", f"{names}\n{names}\n"))
    assert "4,970 more" in message
    assert len(message) < 4000


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("a" * 300 + ".csv", "can't be read: File name too long"),
        ("a\0.csv", "can't be read: embedded null byte"),
        ("~nobody-of-this-name/a.csv", "does not exist"),
    ],
)
def test_names_that_no_file_can_have(path: str, says: str) -> None:
    assert says in refusal(path)


def test_a_name_that_is_not_utf8() -> None:
    assert "\\udcff.csv' holds a byte that is not UTF-8" in refusal("\udcff.csv")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_pipes_and_endless_devices(tmp_path: Path, ending: str) -> None:
    os.mkfifo(tmp_path / f"pipe.{ending}")
    assert "a pipe or a device" in refusal(str(tmp_path / f"pipe.{ending}"))
    (tmp_path / f"zero.{ending}").symlink_to("/dev/zero")
    assert "a pipe or a device" in refusal(str(tmp_path / f"zero.{ending}"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_files_too_large_to_be_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Any
) -> None:
    monkeypatch.setattr(file_text, "LARGEST", 1000)
    path = written(tmp_path, "a.csv", pack(("prompt,response\n" + "a,b\n" * 500).encode()))
    assert "convert it to Parquet" in refusal(path)


# Ids


def test_an_id_of_two_rows_is_refused_with_both(tmp_path: Path) -> None:
    rows = [{"id": 1, "prompt": f"p{n}", "response": "r"} for n in range(3)]
    rows[1]["id"] = 2
    path = written(tmp_path, "a.json", json.dumps(rows))
    message = refusal(path)
    assert "row 3: the id «1» is that of row 1 too" in message
    assert load_examples(f"{path}?where=prompt!=p0", num_samples=None).report.used == 2


def test_an_exact_duplicate_may_repeat_its_id(tmp_path: Path) -> None:
    row = {"id": 1, "prompt": "p", "response": "r"}
    path = written(tmp_path, "a.json", json.dumps([row, row]))
    assert load_examples(path, num_samples=None).report.duplicates == 1


# Properties

_QUICK = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
_KEYS = st.sampled_from(["prompt", "response", "messages", "chosen", "rejected", "id", "other"])


@_QUICK
@given(rows=st.lists(st.dictionaries(_KEYS, _VALUES, max_size=4), min_size=1, max_size=4))
def test_any_json_rows_are_loaded_or_refused(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    path = written(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    try:
        data = load_examples(path, num_samples=None)
    except DeclutchError:
        return
    report = data.report
    unfit = sum(each.count for each in report.unfit)
    assert report.rows == report.used + report.empty + report.duplicates + unfit


@_QUICK
@given(
    rows=st.lists(
        st.tuples(_TEXT, st.text('ab;,"\t ')),
        min_size=1,
        max_size=5,
    ),
    delimiter=st.sampled_from(",;\t"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)  # fmt: skip
def test_quoted_csv_comes_back_as_it_was(
    tmp_path: Path, rows: list[tuple[str, str]], delimiter: str, encoding: str
) -> None:
    def field(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    lines = [("prompt", "response"), *rows]
    text = "".join(delimiter.join(map(field, line)) + "\r\n" for line in lines)
    table = read_file(written(tmp_path, "a.csv", text.encode(encoding)))
    assert [(row["prompt"], row["response"]) for row in table.rows] == rows
