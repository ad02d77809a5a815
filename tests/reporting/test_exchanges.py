from __future__ import annotations

from declutch.reporting.exchanges import LONGEST, choose, first_judge, rule
from tests.reporting.fakes import reply_pair


def test_first_of_each_direction_then_unchanged() -> None:
    ways = [("aware", "aware"), ("unaware", "aware"), ("aware", "unaware"), ("unaware", "unaware"),
            ("unaware", "aware"), ("unaware", "aware"), ("unparsed", "aware")]  # fmt: skip
    pairs = [reply_pair(number, *way) for number, way in enumerate(ways)]
    choices = choose(pairs, "heuristic")["fairness"]
    assert [(c.title, c.total, [p.id for p in c.pairs]) for c in choices] == [
        ("aware → unaware", 1, ["f2"]),
        ("unaware → aware", 3, ["f1", "f4"]),
        ("unparsed → aware", 1, ["f6"]),
        ("unchanged", 2, ["f0", "f3"]),
    ]


def test_long_empty_and_cut_replies_are_noted() -> None:
    long = "word " * 400
    pair = reply_pair(0, "aware", "aware", texts=(long, "  "))
    shown = choose([pair], "heuristic")["fairness"][0].pairs[0]
    assert len(shown.before.text) <= LONGEST + 2
    assert shown.before.notes == (f"shortened here: {len(long):,} characters in all",)
    assert shown.after.notes == ("empty reply", "the token limit ended this reply")


def test_without_a_judge() -> None:
    pair = reply_pair(0, "aware", "unaware")
    choices = choose([pair], None)["fairness"]
    assert [choice.title for choice in choices] == ["not judged"]
    assert choices[0].pairs[0].before.verdict == "not judged"
    assert first_judge([pair]) == "heuristic"
    assert first_judge([]) is None


def test_rule_names_the_judge() -> None:
    assert "«heuristic»" in rule("heuristic")
