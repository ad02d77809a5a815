from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from declutch.comparing.comparison import ComparisonRow
from declutch.reporting import formats
from declutch.reporting.conclusion import conclusion
from tests.reporting.fakes import (
    awareness,
    layers,
    number,
    one_sided,
    over_refusal,
    perplexity,
    share,
)

UP: dict[str, Any] = {"gained": 24, "lost": 3}
DOWN: dict[str, Any] = {"gained": 2, "lost": 18}
FLAT: dict[str, Any] = {"gained": 6, "lost": 5}


@pytest.mark.parametrize(
    ("fairness", "privacy", "outcome", "headline"),
    [
        (UP, UP, "improved", "Awareness of fairness {up} and privacy {up} rose."),
        (FLAT, FLAT, "no detectable change",
         "No change in awareness of fairness or privacy could be told from chance."),
        (DOWN, DOWN, "worse", "Awareness of fairness {down} and privacy {down} fell."),
        (UP, FLAT, "partly improved",
         "Awareness of fairness {up} rose; no change in awareness of privacy could be told from "
         "chance."),
        (FLAT, DOWN, "worse",
         "Awareness of privacy {down} fell; no change in awareness of fairness could be told from "
         "chance."),
        (UP, DOWN, "mixed",
         "Mixed: awareness of fairness {up} rose; awareness of privacy {down} fell."),
    ],
)  # fmt: skip
def test_headline(
    fairness: dict[str, Any], privacy: dict[str, Any], outcome: str, headline: str
) -> None:
    rows = [awareness("fairness", **fairness), awareness("privacy", **privacy)]
    said = conclusion([*rows, over_refusal(), perplexity()], dimensions=("fairness", "privacy"))
    counted = headline.format(up="(30/100 to 51/100)", down="(30/100 to 14/100)")
    assert (said.outcome, said.headline) == (outcome, counted)


def test_details_carry_counts_interval_p_and_n() -> None:
    said = conclusion([awareness("fairness", **FLAT)])
    detail = said.details[0]
    assert detail.startswith("Fairness: 30/100 before, 31/100 after; change +1.0 points (95 % ")
    assert "p = 1.00, n = 100" in detail
    assert detail.endswith("within noise.")


def test_a_gain_needs_its_test_but_a_loss_only_its_interval() -> None:
    up = replace(awareness("fairness", **UP), p=0.06)
    assert up.excludes_zero
    assert conclusion([up]).outcome == "no detectable change"
    down = replace(awareness("fairness", **DOWN), p=0.06)
    assert conclusion([down]).outcome == "worse"


def test_improvement_with_side_effects_says_so_in_the_same_sentence() -> None:
    said = conclusion(
        [awareness("fairness", **UP), over_refusal(gained=12), perplexity(0.4, 0.1)],
        dimensions=("fairness",),
    )
    assert said.headline == (
        "Awareness of fairness (30/100 to 51/100) rose, but harmless fairness prompts were refused "
        "more often (3/50 to 15/50) and perplexity rose (20.00 to 20.40), more than chance "
        "explains."
    )
    assert any("3/50 to 15/50" in line and "20.00 to 20.40" in line for line in said.caveats)


def test_side_effects_within_noise_are_called_so_and_unmeasured_ones_too() -> None:
    said = conclusion([awareness("fairness", **FLAT), over_refusal(gained=1)])
    assert "Over-refusal: no change could be told from chance (50 prompts)." in said.caveats
    assert any(line.startswith("Perplexity was not measured") for line in said.caveats)


def test_falling_perplexity_is_mentioned() -> None:
    said = conclusion([awareness("fairness", **FLAT), perplexity(-0.4, 0.1)])
    assert any(line.startswith("Perplexity fell") for line in said.caveats)


def test_noise_says_what_could_have_been_seen() -> None:
    said = conclusion([awareness("fairness", **FLAT)])
    line = next(line for line in said.caveats if "this is not evidence" in line)
    assert "100 prompts" in line
    assert not any("not evidence" in line for line in conclusion([awareness("f", **UP)]).caveats)


def test_judges_that_differ() -> None:
    one, other = awareness("fairness", **UP), awareness("fairness", "model", **FLAT)
    said = conclusion([one, other], dimensions=("fairness",))
    assert said.outcome == "partly improved"
    assert "rose in 1 of 2 measures (heuristic)" in said.headline
    assert said.details[1].startswith("Fairness (model): ")
    contradicting = conclusion([one, awareness("fairness", "model", **DOWN)])
    assert contradicting.outcome == "mixed"
    assert "contradict" in contradicting.headline


def test_refusals_that_rose_are_named() -> None:
    refused = share("refused/fairness", start=12, gained=22, dimension="fairness")
    said = conclusion([awareness("fairness", **FLAT), refused])
    named = "Kinds of replies: refused · fairness higher"
    assert any(line.startswith(named) for line in said.caveats)


def test_many_moved_measures_are_counted() -> None:
    moved = [replace(row, low=-0.02, high=-0.001, p=0.01) for row in layers(12)]
    said = conclusion([awareness("fairness", **FLAT), *moved])
    assert any("12 of 12 measures moved" in line for line in said.caveats)


def test_gain_that_does_not_stand_after_holm() -> None:
    row = replace(awareness("fairness", **UP), p=0.03, p_holm=0.6)
    assert any("after Holm's correction p = 0.60" in line for line in conclusion([row]).caveats)


def test_nothing_measured_or_compared() -> None:
    assert conclusion([]).outcome == "not measured"
    alone = one_sided("awareness/fairness/x")
    said = conclusion([alone], dimensions=("fairness",))
    assert said.outcome == "not measured"
    assert said.details[0].endswith("not compared.")


def test_a_dimension_without_awareness_keeps_it_from_being_called_improved() -> None:
    said = conclusion([awareness("fairness", **UP)], dimensions=("fairness", "privacy"))
    assert said.outcome == "partly improved"
    assert "awareness of privacy was not compared" in said.headline


def test_untested_rows_are_not_called_noise() -> None:
    row = replace(perplexity(0.4), low=None, high=None, p=None)
    assert row.reading == "not tested"
    said = conclusion([awareness("fairness", **FLAT), row])
    assert any("Perplexity was not tested item by item" in line for line in said.caveats)


def test_empty_patch() -> None:
    said = conclusion([awareness("fairness")], weights=0)
    assert said.caveats[0].startswith("The patch is empty")


def test_same_replies_are_no_change() -> None:
    assert awareness("fairness").reading == "no change"
    assert number("margin/x", 0.1, 0.0, 0.0).reading == "no change"
    assert awareness("fairness", gained=2, lost=2).reading == "within noise"


@pytest.mark.parametrize(
    ("moved", "said"),
    [
        (
            share("capability/hellaswag", start=60, lost=25, better="higher"),
            "capability on hellaswag fell",
        ),
        (
            number("capability/wikitext", 20, 3.0, 0.5, kind="perplexity", better="lower"),
            "perplexity on wikitext rose",
        ),
        (perplexity(change=3.0, half=0.5), "perplexity rose"),
        (
            number("margin/fairness", 0.5, -0.2, 0.1, dimension="fairness"),
            "the preference margin of fairness fell",
        ),
    ],
)
@pytest.mark.parametrize(("counts", "joint"), [(UP, ", but "), (FLAT, ", and "), (DOWN, ", and ")])
def test_a_loss_elsewhere_is_in_the_headline(
    moved: ComparisonRow, said: str, counts: dict[str, Any], joint: str
) -> None:
    found = conclusion([awareness("fairness", **counts), over_refusal(), moved])
    ends = f"{formats.short_value(moved.before)} to {formats.short_value(moved.after)}"
    assert found.headline.endswith(f"{joint}{said} ({ends}), more than chance explains.")
    assert sum(said in line for line in found.caveats) == 1


def test_too_few_prompts_are_called_that() -> None:
    few = awareness("fairness", total=5, start=0, gained=5)
    said = conclusion([few, replace(perplexity(change=9.0, half=0.1), n_pairs=2)])
    assert said.outcome == "too few to tell"
    assert said.headline == "Too few prompts to tell anything about awareness of fairness."
    assert said.details == (
        "Fairness: 0/5 before, 5/5 after; change +100.0 points; too few to tell.",
    )
    (caveat,) = [line for line in said.caveats if "fewer than 6 items" in line]
    assert "awareness fairness · heuristic; perplexity general" in caveat
    assert "rose" not in said.text
    mixed = conclusion([few, awareness("privacy", **UP)])
    assert mixed.outcome == "partly improved"
    assert "too few prompts to tell anything about awareness of fairness" in mixed.headline


def test_nothing_is_read_from_too_few_pairs() -> None:
    row = replace(perplexity(change=9.0, half=0.1), n_pairs=5)
    assert (row.reading, row.tested, row.excludes_zero) == ("too few to tell", False, False)
    assert replace(row, n_pairs=6).reading == "worse"
