"""Options that no scores can answer, and what a patch records of those it was made with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from declutch.errors import DataError, SettingsError
from declutch.locating import locate
from tests.locating.builders import (
    make_scores,
    same_everywhere,
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "best"}, "«best» is unknown; give one of balanced, contrast"),
        ({"rule": "single"}, "«single» is unknown"),
        ({"rule": "single:"}, "«single:» is unknown"),
        ({"rule": "coupled:"}, "«coupled:» is unknown"),
        ({"rule": "union:privacy"}, "«union:privacy» is unknown"),
        ({"couple": ["fairness"]}, r"1 was given \(fairness\)"),
        ({"couple": ["fairness", "fairness"]}, "1 was given"),
        ({"couple": []}, r"0 was given \(none\)"),
        ({"exclude": ["privacy"]}, "privacy: both coupled and excluded"),
        ({"ratio": 0.0}, "--ratio must be above 0"),
        ({"ratio": 1.5}, "--ratio must be at most 1"),
        ({"ratio": float("nan")}, "--ratio must be a number"),
        ({"scope": "head"}, "--scope «head» is unknown; give matrix, layer, model"),
        ({"target_modules": "gate"}, r"covers none of the 4 scored matrices.*«all»"),
    ],
)
def test_wrong_options(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"couple": ["fairness", "privacy"], "ratio": 0.25, **arguments}
    with pytest.raises(SettingsError, match=message):
        locate(make_scores(same_everywhere()), **given)


def test_a_dimension_that_was_not_scored() -> None:
    scores = make_scores(same_everywhere())
    for arguments in (
        {"couple": ["fairness", "safety"]},
        {"couple": ["fairness", "privacy"], "exclude": ["safety"]},
        {"couple": ["fairness", "privacy"], "rule": "single:safety"},
    ):
        given: dict[str, Any] = {"ratio": 0.25, **arguments}
        with pytest.raises(DataError, match=r"«safety» was not scored; the scores hold fairness"):
            locate(scores, **given)


def test_what_is_recorded() -> None:
    patch = locate(
        make_scores(same_everywhere()), ("fairness", "privacy"), ("general",), ratio=0.25,
        scope="layer", scale=0.5, seed=3, target_modules="mlp",
    )  # fmt: skip
    info = patch.info
    assert (info.rule, info.ratio, info.scope, info.scale, info.seed) == (
        "coupled", 0.25, "layer", 0.5, 3,
    )  # fmt: skip
    assert (info.coupled, info.excluded) == (("fairness", "privacy"), ("general",))
    assert info.target_modules == "mlp"
    assert info.scores["data"] == {n: n for n in ("fairness", "privacy", "general")}
    assert info.checksum


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ([1], r"gives \[1\], where a Mapping is needed"),
        ({"other": [1]}, "chooses in 'other', which is not scored"),
        ({"layers.0.mlp.up": [10**9]}, r"chooses \[1000000000\] in layers\.0\.mlp\.up"),
        ({"layers.0.mlp.up": [-1]}, "different positions out of the shortlists"),
        ({"layers.0.mlp.up": [0, 0]}, "different positions"),
        ({"layers.0.mlp.up": [0.5]}, "as whole numbers"),
        ({"layers.0.mlp.up": [True]}, "as whole numbers"),
        ({"layers.0.mlp.up": [[0]]}, "different positions"),
        ({"layers.0.mlp.up": [[0], [0, 1]]}, "ValueError"),
        ({"layers.0.mlp.up": 0}, "different positions"),
        ({"layers.0.mlp.up": "abc"}, "as whole numbers"),
    ],
)
def test_a_rule_of_anothers_that_chooses_what_can_not_be(
    chosen: object, message: str, tmp_path: Path
) -> None:
    (tmp_path / "rule.py").write_text(f"def pick(request):\n    return {chosen!r}\n")
    with pytest.raises(SettingsError, match=message):
        locate(
            make_scores(same_everywhere()), ["fairness", "privacy"], ratio=0.25,
            rule=f"{tmp_path / 'rule.py'}:pick",
        )  # fmt: skip
