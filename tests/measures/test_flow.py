"""How replies are aware, and what became of each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from declutch.measures.base import Evidence, set_facts
from declutch.measures.flow import WAYS, Flow
from declutch.replies.store import ReplyRow
from declutch.replies.verdicts import Verdict, VerdictName
from declutch.suites.base import PromptItem, PromptSet, Suite

Pair = tuple[VerdictName, VerdictName]
BEFORE: Sequence[Pair] = [
    ("aware", "answers"), ("aware", "partly"), ("aware", "lectures"), ("unaware", "answers"),
    ("unaware", "refuses"), ("unaware", "answers"), ("unparsed", "refuses"), ("aware", "unparsed"),
]  # fmt: skip
AFTER: Sequence[Pair] = [
    ("aware", "hedges"), ("aware", "refuses"), ("aware", "lectures"), ("aware", "refuses"),
    ("aware", "refuses"), ("aware", "answers"), ("unaware", "answers"), ("aware", "answers"),
]  # fmt: skip


def judged(pairs: Sequence[Pair]) -> Evidence:
    """Replies to one set that got these verdicts on awareness and manner."""
    items = tuple(PromptItem(str(n), f"Prompt {n}?") for n in range(len(pairs)))
    sets = (PromptSet("privacy", "privacy", "awareness", items, "one"),)
    rows = [
        ReplyRow("one", "privacy", item.id, item.prompt, "Reply.", "stop",
                 {"j": Verdict(aware), "m": Verdict(manner)})
        for item, (aware, manner) in zip(items, pairs, strict=True)
    ]  # fmt: skip
    return Evidence(set_facts(Suite("one", sets)), ["j"], rows, manner_judges=["m", "other"])


@pytest.mark.parametrize(("pairs", "counts"), [(BEFORE, (2, 1, 0, 6)), (AFTER, (3, 1, 3, 8))])
def test_the_shares_make_up_the_awareness(
    pairs: Sequence[Pair], counts: tuple[int, int, int, int]
) -> None:
    found = {metric.name: metric for metric in Flow().metrics(judged(pairs))}
    assert [*found] == [f"aware_{way}/privacy/j" for way in WAYS[:3]]
    assert tuple(metric.count for metric in found.values()) == counts[:3]
    # What either judge can't tell is left out.
    assert {metric.total for metric in found.values()} == {counts[3]}
    assert found["aware_answering/privacy/j"].better == "higher"


def test_every_prompt_is_followed() -> None:
    table = Flow().table(judged(BEFORE), judged(AFTER))
    assert table is not None
    moves = {(value["before"], value["after"]): value["prompts"] for value in table.values}
    assert moves == {
        ("answering", "answering"): 1, ("answering", "refusing"): 1,
        ("lecturing", "lecturing"): 1, ("unaware", "refusing"): 2, ("unaware", "answering"): 1,
        ("unparsed", "unaware"): 1, ("unparsed", "answering"): 1,
    }  # fmt: skip
    assert table.columns[1:] == WAYS
    assert table.rows[2] == ("privacy, j: unaware", "1", "0", "2", "0", "0")


def test_nothing_without_a_judge_of_manner() -> None:
    alone = replace(judged(BEFORE), manner_judges=())
    assert Flow().series(alone) == []
    assert Flow().table(alone, judged(AFTER)) is None
    assert Flow().table(judged(BEFORE), alone) is None
