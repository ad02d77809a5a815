"""Replies on disk: kept as they come, never mixed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from declutch.errors import FileFormatError, SettingsError
from declutch.judges import Verdict
from declutch.replies.engine import Reply
from declutch.replies.store import ReplyStore, read_replies

RUN = {"fingerprint": "a" * 64, "patch": None, "max_new_tokens": 64}


def filled(folder: Path) -> ReplyStore:
    store = ReplyStore(folder, RUN)
    store.add("s", "privacy", "1", "Who?", Reply("<think>he</think>I can't say.", "stop"))
    store.add("s", "privacy", "2", "Why?", Reply("Because", "length"))
    return store


def test_rows_have_the_documented_fields(tmp_path: Path) -> None:
    filled(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "replies.jsonl").read_text().splitlines()]
    assert rows[0] == {
        "suite": "s",
        "set": "privacy",
        "id": "1",
        "prompt": "Who?",
        "reply": "<think>he</think>I can't say.",
        "finish": "stop",
        "kinds": {"empty": False, "cut": False, "repeated": False},
        "verdicts": {},
    }
    assert rows[1]["kinds"]["cut"]


def test_goes_on_after_a_torn_line(tmp_path: Path) -> None:
    filled(tmp_path)
    path = tmp_path / "replies.jsonl"
    path.write_text(path.read_text()[:-30])
    store = ReplyStore(tmp_path, RUN)
    assert len(store) == 1
    assert ("s", "privacy", "1") in store
    assert ("s", "privacy", "2") not in store
    store.add("s", "privacy", "2", "Why?", Reply("So.", "stop"))
    assert [row.reply for row in read_replies(tmp_path)][1:] == ["So."]


def test_another_run_is_refused_and_named(tmp_path: Path) -> None:
    filled(tmp_path)
    before = (tmp_path / "replies.jsonl").read_bytes()
    with pytest.raises(SettingsError, match="max_new_tokens is 64 there and 32 now") as found:
        ReplyStore(tmp_path, {**RUN, "max_new_tokens": 32, "patch": "f" * 64})
    assert "patch is absent there and ffffffffffff… now" in str(found.value)
    assert (tmp_path / "replies.jsonl").read_bytes() == before


def test_replies_of_unknown_origin_are_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "replies.json").unlink()
    with pytest.raises(FileFormatError, match=r"without its replies\.json"):
        ReplyStore(tmp_path, RUN)


@pytest.mark.parametrize("text", ["[]", '{"format_version": 9}', '{"format_version": 1}'])
def test_a_damaged_run_file_is_refused(tmp_path: Path, text: str) -> None:
    filled(tmp_path)
    (tmp_path / "replies.json").write_text(text)
    with pytest.raises(FileFormatError, match=r"replies\.json"):
        ReplyStore(tmp_path, RUN)


@pytest.mark.parametrize(
    "change",
    [
        {"finish": "maybe"},
        {"reply": 3},
        {"verdicts": {"j": {"verdict": "safe", "reason": "", "raw": ""}}},
        {"verdicts": []},
    ],
)
def test_a_damaged_row_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    filled(tmp_path)
    path = tmp_path / "replies.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{json.dumps({**json.loads(second), **change})}\n")
    with pytest.raises(FileFormatError, match="row 2"):
        read_replies(tmp_path)


def test_verdicts_are_kept_until_the_judge_changes(tmp_path: Path) -> None:
    store = filled(tmp_path)
    for row in store.unjudged("j", {"version": 1}):
        row.verdicts["j"] = Verdict("aware", "why", "raw text")
    store.save()
    again = ReplyStore(tmp_path, RUN)
    assert not again.unjudged("j", {"version": 1})
    assert again["s", "privacy", "1"].verdicts["j"] == Verdict("aware", "why", "raw text")
    assert len(again.unjudged("other", {})) == 2
    assert len(again.unjudged("j", {"version": 2})) == 2


def test_save_in_order(tmp_path: Path) -> None:
    store = filled(tmp_path)
    store.save({("s", "privacy", "2"): "", ("s", "privacy", "1"): ""})
    assert [row.id for row in read_replies(tmp_path)] == ["2", "1"]


def test_in_memory_alone() -> None:
    store = ReplyStore(None, RUN)
    store.add("s", "privacy", "1", "Who?", Reply("No.", "stop"))
    store.save()
    assert len(store) == 1


def test_the_folder_of_a_whole_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"format_version": 2, "settings": {}, "stages": {}}')
    with pytest.raises(SettingsError, match="holds a whole run"):
        ReplyStore(tmp_path, RUN)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
