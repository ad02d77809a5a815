"""The whole job by one call of the library: keywords, and rows in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import declutch
from declutch.cli import build_app
from declutch.errors import DeclutchError, SettingsError
from declutch.files import read_json
from declutch.patching import Patch
from tests.cli.conftest import WORDS
from tests.conftest import build_model, build_tokenizer

PASSAGE = " ".join(WORDS * 60)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    build_model("llama", max_position_embeddings=512).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return str(folder)


def rows(first: int) -> list[dict[str, str]]:
    """Six pairs of words that another four have not."""
    words = WORDS[first : first + 4]
    return [
        {
            "prompt": f"{words[at % 4]} {at} {words[at // 4]} ?",
            "response": " ".join(words[at % 3 :]),
        }
        for at in range(6)
    ]


def options(**changes: Any) -> dict[str, Any]:
    return {
        "num_samples": 5, "shortlist": 0.1, "ratio": 0.02, "rule": "union",
        "suite": ("fairness=bundled:eval_fairness", "privacy=bundled:eval_privacy"),
        "limit": 2, "max_new_tokens": 3, **changes,
    }  # fmt: skip


def test_keywords_reach_every_stage(model: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text(PASSAGE, encoding="utf-8")
    paths = declutch.run(
        model,
        couple={"fairness": rows(0), "privacy": rows(4)},
        exclude={"general": rows(8)},
        out=tmp_path / "out",
        **options(
            thinking=True, capability=(f"wikitext={tmp_path / 'text'}",), capability_limit=3,
            guard=("capability>=0.5x",), scale=0.5, dtype="float32",
        ),
    )  # fmt: skip
    patch = Patch.load(tmp_path / "out" / "patch")
    assert (patch.info.rule, patch.info.ratio, patch.info.scale) == ("union", 0.02, 0.5)
    scored = read_json(tmp_path / "out" / "scores" / "scores.json")["dimensions"]
    assert {name: facts["source"] for name, facts in scored.items()} == {
        "fairness": "memory", "privacy": "memory", "general": "memory",
    }  # fmt: skip
    comparison = paths.input.comparison
    assert comparison.after.settings["decoding"]["thinking"] is True
    assert comparison.after.settings["decoding"]["max_new_tokens"] == 3
    (capability,) = [row for row in comparison.rows if row.measure.name == "capability"]
    assert capability.n_pairs == 3
    assert [check.guard for check in comparison.checks] == ["capability>=0.5x"]
    assert paths.html.exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ratoi": 0.1}, "There is no option «ratoi» of a run. Did you mean ratio?"),
        ({"ratio": 2.0}, "--ratio"),
        ({"rule": "couple"}, "--rule"),
        ({"guard": ("fairness>>1",)}, "is not a limit"),
        ({"judge": ("nobody",)}, "nobody"),
        ({"rule": "auto", "granularity": "head"}, "does not go with a search"),
    ],
)
def test_a_wrong_option_is_named_before_anything_is_begun(
    changes: dict[str, Any], says: str, model: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError) as caught:
        declutch.run(
            model, couple={"a": rows(0), "b": rows(4)}, out=tmp_path / "out", **options(**changes)
        )
    assert says in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_settings_or_keywords_and_not_both(model: str, tmp_path: Path) -> None:
    settings = declutch.RunSettings.of(model, {"a": rows(0), "b": rows(4)}, **options())
    with pytest.raises(SettingsError, match="not both"):
        declutch.run(settings, out=tmp_path / "out", ratio=0.1)


def test_the_command_line_and_the_library_have_the_same_settings() -> None:
    """What the command makes of no options is what the library takes for default."""
    tokens = ["run", "MODEL", "--couple", "a=a.csv", "--couple", "b=b.csv", "-o", "OUT"]
    _, bound, _ = build_app().parse_args(tokens, exit_on_error=False, print_error=False)
    bound.apply_defaults()
    given, default = bound.arguments, declutch.RunSettings.of("MODEL", {})
    parts = {
        "load": default.load, "scoring": default.score, "selection": default.locate,
        "judging": default.judging, "checks": default.checks,
    }  # fmt: skip
    assert {name: given[name] for name in parts} == parts


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"couple": ["a", "b"]}, "Give data by dimension"),
        ({"couple": {1: rows(0), 2: rows(4)}}, "called by a text, not 1"),
        ({"couple": {"a": rows(0), "b": []}}, "there are no examples"),
        ({"couple": {"a": rows(0), "b": (row for row in rows(4))}}, "is of type generator"),
        ({"couple": {"a": rows(0), "b": [{"x": 1}]}}, "Its columns are «x»"),
        ({"couple": {"a": rows(0), "b": Path("none.csv")}}, "none.csv does not exist"),
        ({"exclude": {"a": rows(0)}}, "a: both coupled and excluded"),
        ({"model": None}, "--model must be a text, not None"),
        ({"out": 3}, "--out must be a text, not 3"),
        ({"memory_limit": "4GB"}, "--memory-limit must be a whole number"),
        ({"checkpoint_interval": -1.0}, "--checkpoint-interval must be at least 0"),
        ({"num_samples": "5"}, "--num-samples must be a whole number"),
    ],
)
def test_what_can_not_be_given_is_said_before_a_model_is_loaded(
    changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    given: dict[str, Any] = {
        "model": "no-such-model", "couple": {"a": rows(0), "b": rows(4)}, "out": tmp_path / "out",
        **options(), **changes,
    }  # fmt: skip
    with pytest.raises(DeclutchError) as caught:
        declutch.run(**given)
    assert says in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_numbers_of_numpy_and_one_text_for_several(model: str, tmp_path: Path) -> None:
    declutch.run(
        Path(model), {"a": rows(0), "b": rows(4)}, out=tmp_path / "out",
        **options(
            num_samples=np.int64(5), limit=np.int64(2), ratio=np.float64(0.02), suite=SUITE,
            judge="heuristic",
        ),
    )  # fmt: skip
    settings = read_json(tmp_path / "out" / "run.json")["settings"]
    assert (settings["score"]["num_samples"], settings["judging"]["suite"]) == (5, [SUITE])


SUITE = "fairness=bundled:eval_fairness"


def test_a_run_of_whole_heads(model: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"couple": {"a": rows(0), "b": rows(4)}, "out": tmp_path / "out"}
    heads = options(granularity="head", ratio=0.5, suite=SUITE)
    with pytest.raises(SettingsError, match=r"none of the 2 modules that have heads.*attention"):
        declutch.run(model, **given, **heads)
    assert not (tmp_path / "out" / "scores").exists()
    paths = declutch.run(model, **given, **heads, target_modules="attention")
    patch = Patch.load(tmp_path / "out" / "patch")
    assert {one.block for one in patch.info.units} <= {
        f"model.layers.{layer}.self_attn" for layer in range(2)
    }
    page = paths.html.read_text(encoding="utf-8")
    first = patch.info.units[0]
    assert f"layer {first.layer}, head {first.unit}</th>" in page
    assert "heads with all of their weights" in page


def test_a_run_of_a_rule_of_good_against_bad_contrasts_what_is_coupled(
    model: str, tmp_path: Path
) -> None:
    pairs = [{**row, "bad_response": f"{row['response']} quick"} for row in rows(0)]
    more = [{**row, "bad_response": f"lazy {row['response']}"} for row in rows(4)]
    changes: dict[str, Any] = {"rule": "balanced", "weights": 40, "budget": 2.0}
    declutch.run(
        model, couple={"fairness": pairs, "privacy": more}, exclude={"general": rows(8)},
        out=tmp_path / "out", **options(**changes, no_harmless=True),
    )  # fmt: skip
    patch = Patch.load(tmp_path / "out" / "patch")
    assert 0 < len(patch) <= 40
    assert set(patch.info.choice["gains"]) == {"fairness", "privacy"}
    scored = read_json(tmp_path / "out" / "scores" / "scores.json")
    assert "privacy:contrast" in scored["gathered"]
