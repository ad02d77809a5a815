"""The rule ``balanced``: what it is given, what it takes, and what it says of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from declutch.data.names import contrast_of
from declutch.errors import SettingsError
from declutch.files import read_json, write_json
from declutch.locating import locate
from declutch.patching import Patch
from declutch.scoring.shortlists import Candidates, DimensionInfo, Scores, Shortlist
from tests.locating.builders import DIMENSIONS, SHAPES, make_scores, numel, selection_of, weights_of

SIGNED = ("fairness", "privacy", "honesty", "harmless")
COUPLE, EXCLUDE = ["fairness", "privacy"], ["general"]
RATIO = 0.3


def signed_scores(seed: int = 0, contrasts: Sequence[str] = SIGNED) -> Scores:
    """Absolute scores of every dimension and contrasts of some, gathered at all positions."""
    random = np.random.default_rng(seed)
    scores = make_scores(
        {
            name: {matrix: random.integers(1, 99, numel(matrix)).tolist() for matrix in SHAPES}
            for name in DIMENSIONS
        }
    )
    for name in contrasts:
        fact = DimensionInfo(
            source="s", sha256=name, examples=1, tokens=2, counted_tokens=1, seconds=0,
            statistic="contrast",
        )  # fmt: skip
        scores.add(contrast_of(name), fact, {m: signed(m, random) for m in SHAPES})
    gather(scores)
    return scores


def signed(matrix: str, random: np.random.Generator) -> Shortlist:
    values = torch.from_numpy(random.standard_normal(numel(matrix)).astype(np.float32))
    order = values.argsort(descending=True)
    return Shortlist(order, values[order], weights_of(matrix).reshape(-1)[order])


def gather(scores: Scores) -> None:
    """What scoring ends with; here the shortlists hold everything."""
    scores.candidates = {m: Candidates(at) for m, at in scores.union().items()}
    for name in scores.dimensions:
        by_position = {}
        for matrix, one in scores.shortlists[name].items():
            order = one.indices.argsort()
            by_position[matrix] = Shortlist(one.indices[order], one.scores[order], one.weights)
        scores.add_gathered(name, by_position, 1.0)


def total(scores: Scores, key: str, patch: Patch) -> float:
    """The sum of one kind of scores over the weights of a patch."""
    return sum(
        float(one.scores[np.isin(one.indices.numpy(), patch.indices[matrix])].sum())
        for matrix, one in scores.shortlists[key].items()
        if matrix in patch.indices
    )


@pytest.mark.parametrize("couple", [["fairness"], COUPLE, ["privacy", "honesty", "fairness"]])
def test_it_gains_more_than_coupled_within_the_same_limits(couple: list[str]) -> None:
    scores = signed_scores()
    patch = locate(scores, couple, EXCLUDE, ratio=RATIO, rule="balanced")
    # Of one dimension the paper's rule is «single»; it wants two that are coupled all the same.
    rule = "coupled" if couple[1:] else f"single:{couple[0]}"
    paper = locate(
        scores, couple if couple[1:] else [*couple, "privacy"], EXCLUDE, ratio=RATIO, rule=rule
    )
    assert 0 < len(patch) <= len(paper)
    assert total(scores, "general", patch) <= total(scores, "general", paper) + 1e-3
    gains = patch.info.choice["gains"]
    for name in couple:
        margin = total(scores, contrast_of(name), patch)
        assert margin > total(scores, contrast_of(name), paper)
        assert gains[name]["margin"] == pytest.approx(margin, rel=1e-5)
        assert gains[name]["spreads"] >= patch.info.choice["smallest_gain"] - 1e-9
    harmless = total(scores, contrast_of("harmless"), patch)
    assert gains["harmless"]["margin"] == pytest.approx(harmless, abs=1e-4)


def test_a_spread_is_the_root_mean_square_of_the_candidates_scores() -> None:
    scores = signed_scores()
    patch = locate(scores, COUPLE, EXCLUDE, ratio=RATIO, rule="balanced", target_modules="mlp")
    values = np.concatenate(
        [scores.candidates[m].scores["privacy:contrast"].numpy() for m in patch.info.matrices]
    )
    assert patch.info.choice["candidates"] == len(values)
    found = patch.info.choice["gains"]["privacy"]
    assert found["margin"] / found["spreads"] == pytest.approx(np.sqrt(np.mean(values**2)), 1e-5)


def test_its_options_are_limits() -> None:
    scores = signed_scores()

    def chosen(**options: Any) -> Patch:
        return locate(scores, COUPLE, EXCLUDE, ratio=RATIO, rule="balanced", **options)

    free = chosen(weights=50, budget=9.0)
    assert len(chosen(weights=5, budget=9.0)) == 5
    assert len(free) > 5
    spent = chosen(weights=50, budget=0.4).info.choice["budget"]["general"]
    assert 0.2 < spent["used"] <= 0.4 == spent["limit"]
    more = chosen(weights=50, budget=9.0, harmless_weight=1.0).info.choice
    assert more["gains"]["harmless"]["spreads"] > free.info.choice["gains"]["harmless"]["spreads"]
    assert more["gains"]["harmless"]["asked"] == pytest.approx(more["smallest_gain"])
    assert more["smallest_gain"] < free.info.choice["smallest_gain"]
    # A negative share lets harmless prompts lose; without excluded dimensions only weights count.
    less = chosen(weights=50, budget=9.0, harmless_weight=-1.0).info.choice
    assert less["smallest_gain"] >= free.info.choice["smallest_gain"]
    alone = locate(scores, COUPLE, ratio=RATIO, rule="balanced", weights=7)
    assert len(alone) == 7
    assert alone.info.choice["budget"] == {}


def test_without_harmless_scores_it_does_without() -> None:
    scores = signed_scores(contrasts=COUPLE)
    patch = locate(scores, COUPLE, EXCLUDE, ratio=RATIO, rule="balanced")
    assert set(patch.info.choice["gains"]) == set(COUPLE)
    with pytest.raises(SettingsError, match="needs what harmless scores by «contrast»"):
        locate(scores, COUPLE, EXCLUDE, ratio=RATIO, rule="balanced", harmless_weight=0.0)


def test_the_patch_says_in_words_what_each_dimension_costs(tmp_path: Path) -> None:
    patch = locate(signed_scores(), COUPLE, EXCLUDE, ratio=RATIO, rule="balanced", budget=0.7)
    words = "\n".join(patch.info.words)
    assert re.search(r"at least \S+ spreads, chosen out of 100 candidates", words)
    assert re.search(r"^fairness: \+\S+ spreads \(margin \+\S+ nats a token, to first", words, re.M)
    assert re.search(r"^budget of general: \S+ of 0\.7 used; 1 % more would raise", words, re.M)
    assert words in patch.summary()
    prices = [one["price"] for one in patch.info.choice["gains"].values()]
    assert sum(prices[:2]) == pytest.approx(1, abs=1e-6)
    patch.save(tmp_path)
    assert Patch.load(tmp_path) == patch
    assert Patch.load(tmp_path).info.choice == patch.info.choice
    assert (patch | patch).info.choice == {}


def test_scores_of_an_older_version_serve_the_older_rules_alone(tmp_path: Path) -> None:
    scores = signed_scores(contrasts=())
    contrasted = {**scores.info.dimensions}
    for name in COUPLE:
        contrasted[name] = contrasted[name].model_copy(update={"statistic": "contrast"})
    scores.info = scores.info.model_copy(update={"dimensions": contrasted, "gathered": {}})
    scores.candidates = {}
    scores.save(tmp_path)
    path = tmp_path / "scores.json"
    old = read_json(path)
    del old["gathered"]
    write_json(path, {**old, "format_version": 2})

    read = Scores.load(tmp_path)
    expected = locate(read, COUPLE, EXCLUDE, ratio=RATIO)
    found = locate(read, COUPLE, EXCLUDE, ratio=RATIO, rule="contrast")
    assert selection_of(found) == selection_of(expected) != {}
    with pytest.raises(
        SettingsError, match=r"scores don't hold it\. Score again with .*--contrast"
    ):
        locate(read, COUPLE, EXCLUDE, ratio=RATIO, rule="balanced")


def test_what_can_t_be_chosen_is_said() -> None:
    scores = signed_scores()
    with pytest.raises(SettingsError, match=r"coupled takes at the same ratio, and that is noth"):
        locate(scores, COUPLE, ["general", "code"], ratio=0.03, rule="balanced")
    for matrix in scores.candidates.values():
        matrix.scores["privacy:contrast"] = -matrix.scores["fairness:contrast"].abs() - 1
    with pytest.raises(SettingsError, match="No choice out of 100 candidates raises every one of"):
        locate(scores, COUPLE, EXCLUDE, ratio=RATIO, rule="balanced")
    signed_general = replace(signed_scores())
    dimensions = dict(signed_general.info.dimensions)
    dimensions["general"] = dimensions["general"].model_copy(update={"statistic": "signed"})
    signed_general.info = signed_general.info.model_copy(update={"dimensions": dimensions})
    with pytest.raises(SettingsError, match="needs general scored by «abs», and it was"):
        locate(signed_general, COUPLE, EXCLUDE, ratio=RATIO, rule="balanced")


@pytest.mark.parametrize("option", [{"weights": 3}, {"budget": 1.0}, {"harmless_weight": 0.0}])
def test_an_option_that_a_rule_does_not_take_is_refused(option: dict[str, Any]) -> None:
    flag = f"--{next(iter(option)).replace('_', '-')}"
    with pytest.raises(SettingsError, match=f"{flag} does not go with --rule coupled"):
        locate(signed_scores(), COUPLE, ratio=RATIO, **option)


def test_a_rule_of_another_takes_options_and_tells_of_its_choice(tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text(
        "from declutch.locating import Choice\n"
        "def few(request, *, weights):\n"
        "    matrix = request.matrices[0]\n"
        "    chosen = request.tops['fairness'][matrix][:weights]\n"
        "    return Choice({matrix: chosen}, {'asked': weights}, (f'{weights} asked',))\n"
        "def odd(request, *, mood):\n"
        "    return {}\n"
    )
    rule = f"{tmp_path / 'rules.py'}:few"
    patch = locate(signed_scores(), COUPLE, ratio=RATIO, rule=rule, weights=3)
    assert len(patch) == 3
    assert patch.info.choice == {"asked": 3}
    assert patch.info.words == ("3 asked",)
    with pytest.raises(SettingsError, match="takes «mood», and there is no such option"):
        locate(signed_scores(), COUPLE, ratio=RATIO, rule=rule.replace("few", "odd"))
