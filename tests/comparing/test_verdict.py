"""The verdict in words, from paired rows."""

from __future__ import annotations

import pytest

from declutch.comparing.comparison import ComparisonRow
from declutch.comparing.kinds import PROPORTION
from declutch.comparing.pooling import pooled
from declutch.comparing.series import Series, compare_series
from declutch.comparing.verdict import verdict


def row(
    dimension: str, gained: int, lost: int, judge: str = "j", n: int = 40, of: str = "",
    clusters: dict[str, str] | None = None,
) -> ComparisonRow:  # fmt: skip
    """Awareness of which so many prompts became aware, and so many ceased to be."""
    old = {str(i): gained <= i < gained + lost for i in range(n)}
    new = {str(i): i < gained for i in range(n)}
    sides = [
        Series(f"awareness/{of}{dimension}/{judge}", PROPORTION, values, dimension, judge, "higher")
        for values in (old, new)
    ]
    metrics = [side.metric("awareness", clusters=clusters) for side in sides]
    return compare_series(metrics[0], metrics[1], sides[0], sides[1], clusters=clusters)[0]


@pytest.mark.parametrize(
    ("fairness", "privacy", "word"),
    [
        ((12, 0), (14, 1), "helps all"),
        ((12, 0), (2, 1), "helps some"),
        ((3, 2), (2, 1), "no evidence"),
        ((12, 0), (0, 12), "harms"),
        ((0, 0), (0, 0), "no evidence"),
    ],
)
def test_words(fairness: tuple[int, int], privacy: tuple[int, int], word: str) -> None:
    found = verdict([row("fairness", *fairness), row("privacy", *privacy)], ["fairness", "privacy"])
    assert found.word == word
    assert found.sentence.startswith(
        "It h" if word in ("helps all", "helps some", "harms") else "There is no"
    )


def test_p_is_corrected_over_the_dimensions() -> None:
    """Six to none has p = 0.031: enough alone, not as one of two."""
    alone = verdict([row("fairness", 6, 0)], ["fairness"])
    both = verdict([row("fairness", 6, 0), row("privacy", 1, 1)], ["fairness", "privacy"])
    assert (alone.word, both.word) == ("helps all", "no evidence")
    assert both.by_judge[0].p_holm == pytest.approx(2 * (both.by_judge[0].p or 0))


def test_a_gain_by_one_judge_is_called_that() -> None:
    rows = [row("fairness", 15, 0), row("fairness", 1, 1, judge="k"), row("privacy", 0, 1)]
    found = verdict(rows, ["fairness", "privacy"])
    assert found.word == "no evidence"
    assert found.one_judge == ("fairness",)
    assert "fairness rose by the judge j alone" in found.sentence


def test_what_it_costs_is_said() -> None:
    old = {str(i): False for i in range(40)}
    new = {str(i): i < 15 for i in range(40)}
    sides = [
        Series("over_refusal/fairness/m", PROPORTION, values, "fairness", "m", "lower")
        for values in (old, new)
    ]
    metrics = [side.metric("over_refusal") for side in sides]
    cost = compare_series(metrics[0], metrics[1], sides[0], sides[1])[0]
    found = verdict([row("fairness", 12, 0)], ["fairness"], [cost])
    assert found.sentence.endswith("Its price: over refusal, fairness · m 0.000 → 0.375.")


def test_sets_of_one_dimension_are_one_test() -> None:
    """Four to none in each of two sets: neither tells anything alone, both together do."""
    rows = [row("fairness", 4, 0, of="a/"), row("fairness", 4, 0, of="b/"), row("privacy", 0, 1)]
    joined = pooled(rows)
    assert [one.metric.dimension for one in joined] == ["fairness", "privacy"]
    assert joined[1] is rows[2]
    assert (joined[0].gained, joined[0].lost, joined[0].n_pairs) == (8, 0, 80)
    assert joined[0].p == pytest.approx(2 / 2**8)
    assert joined[0].after.value == pytest.approx(8 / 80)
    assert verdict(joined, ["fairness", "privacy"]).word == "helps some"
    assert verdict(rows, ["fairness", "privacy"]).word == "no evidence"


def test_clusters_stay_what_they_are_when_sets_are_joined() -> None:
    clusters = {str(i): f"prompt {i // 4}" for i in range(40)}
    rows = [row("fairness", 8, 0, of=of, clusters=clusters) for of in ("a/", "b/")]
    joined = pooled(rows)[0]
    assert joined.clusters == 20
    assert joined.test.startswith("exact sign-flip")
