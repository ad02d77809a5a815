from __future__ import annotations

import json
from pathlib import Path

import pytest

from declutch.data.reading import read_file
from declutch.errors import DataError


def written(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def refusal(path: str) -> str:
    with pytest.raises(DataError) as caught:
        list(read_file(path).rows)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_csv_with_byte_order_mark_quotes_and_blank_lines(tmp_path: Path) -> None:
    text = '\ufeffprompt,response\r\n"a, ""b""\nc",d\r\n\r\ne,\u2028f\r\n'
    table = read_file(written(tmp_path, "a.CSV", text))
    assert table.columns == ("prompt", "response")
    assert list(table.rows) == [
        {"prompt": 'a, "b"\nc', "response": "d"},
        {"prompt": "e", "response": "\u2028f"},
    ]


def test_csv_field_longer_than_the_usual_limit(tmp_path: Path) -> None:
    table = read_file(written(tmp_path, "a.csv", f"prompt,response\na,{'x' * 200_000}\n"))
    assert len(next(iter(table.rows))["response"]) == 200_000


def test_csv_wrong_number_of_fields_names_the_line(tmp_path: Path) -> None:
    # The record before takes lines 2 and 3.
    said = refusal(written(tmp_path, "a.csv", 'prompt,response\n"a\nb",c\nd,e,f\n'))
    assert "a.csv, line 4: 3 fields where the header has 2" in said


def test_csv_open_quote_names_the_line_it_begins_on(tmp_path: Path) -> None:
    said = refusal(written(tmp_path, "a.csv", 'prompt,response\na,b\n"c,d\ne,f\ng,h\n'))
    assert "line 3" in said
    assert "never closed" in said


def test_csv_same_column_twice(tmp_path: Path) -> None:
    assert "«prompt»" in refusal(written(tmp_path, "a.csv", "prompt,prompt\na,b\n"))


def test_not_utf8_names_the_line(tmp_path: Path) -> None:
    said = refusal(written(tmp_path, "a.csv", b"prompt,response\na,b\nc,caf\xe9\n"))
    assert "line 3" in said
    assert "UTF-8" in said


def test_json_list_and_object_of_one_list(tmp_path: Path) -> None:
    rows = [{"prompt": "a"}, {"prompt": "b", "response": "c"}]
    for value in (rows, {"data": rows}):
        table = read_file(written(tmp_path, "a.json", json.dumps(value)))
        assert table.columns == ("prompt", "response")
        assert list(table.rows) == rows


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('[{"a": 1},\n {"a": }]', "line 2, column 8"),
        ('{"a": 1}\n{"a": 2}\n', "ending .jsonl"),
        ('{"a": [], "b": []}', "keys «a» and «b»"),
        ('[{"a": 1}, "b"]', "row 2: text"),
        ("[]", "no rows"),
        ("3", "a number"),
    ],
)
def test_json_errors(tmp_path: Path, content: str, says: str) -> None:
    assert says in refusal(written(tmp_path, "a.json", content))


def test_jsonl_is_cut_at_newlines_only(tmp_path: Path) -> None:
    text = '{"prompt": "a\u2028b"}\r\n\n{"prompt": "c\u0085"}'
    for name in ("a.jsonl", "a.ndjson"):
        rows = list(read_file(written(tmp_path, name, text)).rows)
        assert [row["prompt"] for row in rows] == ["a\u2028b", "c\u0085"]


def test_jsonl_errors_name_the_line(tmp_path: Path) -> None:
    assert "line 3" in refusal(written(tmp_path, "a.jsonl", '{"a": 1}\n\n{"a": \n'))
    assert "line 2: a list" in refusal(written(tmp_path, "b.jsonl", '{"a": 1}\n[1]\n'))


def test_missing_file_folder_and_empty_file(tmp_path: Path) -> None:
    assert "does not exist" in refusal(str(tmp_path / "no.csv"))
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in refusal(str(tmp_path / "folder.csv"))
    assert "is empty" in refusal(written(tmp_path, "empty.csv", ""))
    assert "no rows" in refusal(written(tmp_path, "header.csv", "prompt,response\n"))


def test_parquet_rows_and_damage(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"prompt": f"p{n}", "flags": {"a": n % 2 == 0}} for n in range(2500)]
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.Table.from_pylist(rows), path)
    table = read_file(str(path))
    assert table.columns == ("prompt", "flags")
    assert table.count == 2500
    assert list(table.rows) == rows
    path.write_bytes(path.read_bytes()[:-20])
    assert "not a whole Parquet file" in refusal(str(path))
