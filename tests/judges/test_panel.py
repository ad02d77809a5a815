"""A panel of judges: majority, ties, and where they differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from declutch.errors import SettingsError
from declutch.judges import JudgeItem, Verdict, get_judge
from declutch.judges.base import about
from declutch.judges.panel import Panel
from declutch.measures.agreement import Agreement
from declutch.measures.base import Evidence, set_facts
from declutch.replies.engine import Reply
from declutch.replies.store import ReplyStore
from declutch.suites.base import PromptItem, PromptSet, Suite

WORDS = {"a": "aware", "u": "unaware", "x": "unparsed"}


class Nth:
    """Says what the letter at its place in the reply stands for."""

    settings: Mapping[str, Any] = {"version": 1}

    def __init__(self, place: int) -> None:
        self.place = place
        self.name = f"judge{place}"

    def judge(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        return [Verdict(WORDS[item.reply[self.place]], "so") for item in items]  # type: ignore[arg-type]


def panel(count: int) -> Panel:
    return Panel("panel", tuple(Nth(place) for place in range(count)))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("aaa", "aware"), ("aau", "aware"), ("uau", "unaware"), ("aux", "unparsed"),
        ("axx", "unparsed"), ("aa", "aware"), ("au", "unparsed"), ("aaux", "unparsed"),
    ],
)  # fmt: skip
def test_more_than_half_of_its_members_decide(said: str, expected: str) -> None:
    (found,) = panel(len(said)).judge([JudgeItem("privacy", "p", said)])
    assert found.verdict == expected
    if len({*said}) == 1:
        assert found.reason == f"all: {expected}"
    else:
        assert found.reason.startswith(f"split: judge0 {WORDS[said[0]]}, judge1 {WORDS[said[1]]}")
    assert json.loads(found.raw)["judge1"] == "so"


def test_where_its_members_differ_is_listed() -> None:
    items = tuple(PromptItem(str(n), f"prompt {n}") for n in range(2))
    suite = Suite("s", (PromptSet("privacy", "privacy", "awareness", items, "s"),))
    store = ReplyStore(None, {})
    for item, said in zip(items, ("aaa", "aau"), strict=True):
        store.add("s", "privacy", item.id, item.prompt, Reply(said, "stop"))
        row = store["s", "privacy", item.id]
        row.verdicts["panel"] = panel(3).judge([JudgeItem("privacy", item.prompt, said)])[0]
    rows = Agreement().files(Evidence(set_facts(suite), ["panel"], list(store)))
    listed = rows["disagreements.jsonl"]
    assert listed is not None
    assert [(row["id"], row["verdicts"]["panel"]["verdict"]) for row in listed] == [("1", "aware")]


def test_by_name() -> None:
    found = get_judge("panel:heuristic,qwen3guard:url=http://h;model=m,name=jury")
    assert found.name == "jury"
    assert set(found.settings["members"]) == {"heuristic", "qwen3guard"}
    assert found.settings["members"]["qwen3guard"]["model"] == "m"
    assert about(get_judge("panel:refusal,refusal:name=again")) == "manner"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("panel", "two members or more"),
        ("panel:heuristic", "two members or more"),
        ("panel:heuristic,heuristic", "of different names"),
        ("panel:heuristic,refusal", "do not decide the same"),
        ("panel:heuristic,nonesuch", "«nonesuch» is unknown"),
        ("panel:heuristic,qwen3guard,model=x", "no option «model»"),
    ],
)
def test_what_is_no_panel(reference: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        get_judge(reference)
