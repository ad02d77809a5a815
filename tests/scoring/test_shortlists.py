"""Shortlists: order, ties at the cut, zeros, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from declutch.data.names import CONTROL
from declutch.errors import FileFormatError, ModelError
from declutch.files import read_json, write_json
from declutch.models.identity import MatrixInfo, ModelInfo
from declutch.scoring import shortlists
from declutch.scoring.shortlists import (
    DimensionInfo,
    Scores,
    ScoresInfo,
    Shortlist,
    control_shortlist,
    make_shortlist,
)


@pytest.mark.parametrize("part", [3, 7, 1 << 18])
def test_equal_scores_come_in_order_of_position(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlists, "_TOP_PART", part)
    generator = torch.Generator().manual_seed(0)
    for fraction in (0.05, 0.2, 0.5, 1.0):
        scores = torch.randint(0, 4, (6, 4), generator=generator).float()
        weight = torch.randn(6, 4, generator=generator)
        made = make_shortlist(scores, weight, fraction)
        flat = scores.reshape(-1).tolist()
        expected = sorted(range(24), key=lambda index: (-flat[index], index))
        assert made.indices.tolist() == expected[: len(made.indices)]
        assert made.scores.tolist() == [flat[index] for index in made.indices.tolist()]
        assert torch.equal(made.weights, weight.reshape(-1)[made.indices])


@pytest.mark.parametrize("levels", [2, 50, 10**6])
@pytest.mark.parametrize("part", [1000, 1 << 18])
def test_the_top_of_a_large_matrix(levels: int, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlists, "_TOP_PART", part)
    generator = torch.Generator().manual_seed(levels)
    scores = torch.randint(0, levels, (200, 122), generator=generator).float()
    scores[:, 61] *= 100  # a few inputs far above the others, as real scores have
    by_rank = (-scores.reshape(-1)).argsort(stable=True)
    for fraction in (1e-3, 0.02, 0.4):
        made = make_shortlist(scores, scores, fraction)
        assert torch.equal(made.indices, by_rank[: len(made.indices)])


def test_scores_above_a_bound_hold_the_top_or_are_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # All but a few at the places that the sample sees: its bound is too high for the others.
    scores = torch.zeros(61 * 400)
    scores[::61] = torch.arange(400).float() + 1
    assert shortlists._candidates(scores, 100) is None
    assert shortlists._top(scores, 100).tolist() == [61 * (300 + n) for n in range(100)]
    # Nearly all of them equal: the bound leaves too many.
    equal = torch.ones(61 * 4000)
    assert shortlists._candidates(equal, 10) is None
    assert shortlists._top(equal, 10).tolist() == list(range(10))
    random = torch.rand(61 * 400, generator=torch.Generator().manual_seed(0))
    found = shortlists._candidates(random, 100)
    assert found is not None
    assert 100 <= len(found) < 1000


def test_a_neuron_that_scores_zero_is_not_important() -> None:
    scores = torch.zeros(6, 4)
    scores[2, 1] = 1.0
    made = make_shortlist(scores, torch.ones(6, 4), 0.5)
    assert made.top(5).tolist() == [9]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    scores = torch.ones(6, 4)
    scores[3, 3] = bad
    with pytest.raises(ModelError, match="not finite"):
        make_shortlist(scores, torch.ones(6, 4), 0.5)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="does not exist"):
        Scores.load(tmp_path / "nothing")


def some_scores() -> Scores:
    generator = torch.Generator().manual_seed(1)
    info = ScoresInfo(
        model=ModelInfo(id="m", fingerprint="f", dtype="float32"),
        settings={"seed": 0, "shortlist": 0.5},
        matrices={name: MatrixInfo(shape=(6, 4), layer=0, kind="mlp") for name in ("a", "b")},
        versions={},
    )
    scores = Scores(info)
    weights = {name: torch.randn(6, 4, generator=generator) for name in info.matrices}
    scores.shortlists[CONTROL] = {
        name: control_shortlist(weight, 0.5, 0, name) for name, weight in weights.items()
    }
    for dimension in ("fairness", "privacy"):
        facts = DimensionInfo(
            source="x", sha256="0", examples=1, tokens=2, counted_tokens=1, seconds=0
        )
        shortlists = {
            name: make_shortlist(torch.rand(6, 4, generator=generator), weight, 0.5)
            for name, weight in weights.items()
        }
        scores.add(dimension, facts, shortlists)
    return scores


Tensors = dict[str, torch.Tensor]


def negated(tensors: Tensors) -> None:
    tensors["fairness/a/scores"].neg_()


def reordered(tensors: Tensors) -> None:
    for part in ("indices", "scores", "weights"):
        tensors[f"fairness/a/{part}"] = tensors[f"fairness/a/{part}"].flip(0).contiguous()


def positions_reordered(tensors: Tensors) -> None:
    tensors["fairness/a/indices"] = tensors["fairness/a/indices"].flip(0).contiguous()


def swapped(tensors: Tensors) -> None:
    for part in ("indices", "scores", "weights"):
        one, two = f"fairness/a/{part}", f"privacy/a/{part}"
        tensors[one], tensors[two] = tensors[two], tensors[one]


def not_a_number(tensors: Tensors) -> None:
    tensors["privacy/b/scores"][3] = float("nan")


def outside(tensors: Tensors) -> None:
    tensors["control/b/indices"][0] = 24


def negative(tensors: Tensors) -> None:
    tensors["privacy/b/indices"][0] = -1


def twice(tensors: Tensors) -> None:
    tensors["privacy/b/indices"][0] = tensors["privacy/b/indices"][1]


def shorter(tensors: Tensors) -> None:
    tensors["privacy/b/scores"] = tensors["privacy/b/scores"][:-1].clone()


def other_dtype(tensors: Tensors) -> None:
    tensors["privacy/b/scores"] = tensors["privacy/b/scores"].double()


def other_weights(tensors: Tensors) -> None:
    tensors["privacy/b/weights"][0] += 1


CHANGES = [
    negated, reordered, positions_reordered, swapped, not_a_number, outside, negative, twice,
    shorter, other_dtype, other_weights,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_shortlist_is_not_loaded(
    change: Callable[[Tensors], None], tmp_path: Path
) -> None:
    some_scores().save(tmp_path)
    assert Scores.load(tmp_path).dimensions == ("fairness", "privacy")
    path = tmp_path / "shortlists.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(FileFormatError, match=r"damaged, incomplete or changed"):
        Scores.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (negated, "not in falling order"), (not_a_number, "not a finite number"),
        (outside, "outside its 24 neurons"), (negative, "outside its 24 neurons"),
        (twice, "comes twice"), (shorter, "not of one length"), (other_dtype, "wrong dtype"),
    ],
)  # fmt: skip
def test_what_no_scoring_makes_is_not_loaded_under_any_checksum(
    change: Callable[[Tensors], None], reason: str, tmp_path: Path
) -> None:
    """The checksum says that files belong together; these can belong to nothing."""
    scores = some_scores()
    tensors = {
        f"{dimension}/{matrix}/{part}": getattr(shortlist, part)
        for dimension, matrices in scores.shortlists.items()
        for matrix, shortlist in matrices.items()
        for part in ("indices", "scores", "weights")
    }
    change(tensors)
    changed = {
        dimension: {
            matrix: Shortlist(
                *(tensors[f"{dimension}/{matrix}/{p}"] for p in ("indices", "scores", "weights"))
            )
            for matrix in matrices
        }
        for dimension, matrices in scores.shortlists.items()
    }
    Scores(scores.info, changed).save(tmp_path)
    with pytest.raises(FileFormatError, match=reason):
        Scores.load(tmp_path)


def change_every_fact(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The place of each fact in a JSON value."""
    if isinstance(value, dict) and value:
        for key, entry in value.items():
            yield from change_every_fact(entry, (*path, key))
    else:
        yield path


def test_every_fact_is_under_the_checksum(tmp_path: Path) -> None:
    some_scores().save(tmp_path)
    path = tmp_path / "scores.json"
    whole = read_json(path)
    for place in change_every_fact(whole):
        facts = copy.deepcopy(whole)
        target = facts
        for key in place[:-1]:
            target = target[key]
        old = target[place[-1]]
        target[place[-1]] = old + 1 if isinstance(old, int | float) else f"{old or ''}x"
        write_json(path, facts)
        with pytest.raises(FileFormatError):
            Scores.load(tmp_path)


def test_scores_of_an_earlier_version_are_named(tmp_path: Path) -> None:
    some_scores().save(tmp_path)
    path = tmp_path / "scores.json"
    write_json(path, {**read_json(path), "format_version": 1})
    with pytest.raises(FileFormatError, match="format_version 1; this declutch reads 4"):
        Scores.load(tmp_path)
