"""Every rule against a plain computation with sets, on random scores with many ties."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from declutch.errors import SettingsError, ShortlistTooShort
from declutch.locating import important, locate
from declutch.models.identity import MatrixInfo
from tests.locating.builders import (
    DIMENSIONS,
    RATIOS,
    SHAPES,
    Raw,
    make_scores,
    numel,
    raw_scores,
    same_everywhere,
    selection_of,
    weights_of,
)


def plain_tops(
    raw: Raw, dimension: str, ratio: str, scope: str, names: Sequence[str]
) -> dict[str, set[int]]:
    """The top positions by sorting everything: higher scores first, then in order of position."""
    group_of = {
        name: {"matrix": name, "layer": name.split(".")[1], "model": ""}[scope] for name in names
    }
    tops: dict[str, set[int]] = {name: set() for name in names}
    for group in set(group_of.values()):
        members = [name for name in names if group_of[name] == group]
        total = sum(numel(name) for name in members)
        k = int((Decimal(ratio) * total).to_integral_value(ROUND_FLOOR))
        ranked = sorted(
            (-raw[dimension][name][position], order, position, name)
            for order, name in enumerate(members)
            for position in range(numel(name))
        )
        for negative, _, position, name in ranked[:k]:
            if negative < 0:  # what scores zero is not important
                tops[name].add(position)
    return tops


def plain_selection(
    rule: str, tops: Mapping[str, Mapping[str, set[int]]], couple: Sequence[str],
    exclude: Sequence[str], name: str,
) -> set[int]:  # fmt: skip
    excluded = set().union(*(tops[dimension][name] for dimension in exclude))
    lists = [tops[dimension][name] for dimension in couple]
    kind, _, argument = rule.partition(":")
    if kind == "coupled":
        return set.intersection(*lists) - excluded
    if kind == "union":
        return set.union(*lists) - excluded
    if kind == "single":
        return tops[argument][name] - excluded
    # docs/paper.md: sorted lists, masks, AND place by place, the first list's entries.
    assert kind == "released"
    chosen = set()
    for entries in zip(*(sorted(one) for one in lists), strict=False):
        if all(entry not in excluded for entry in entries):
            chosen.add(entries[0])
    return chosen


COUPLES = st.sampled_from(
    [("fairness", "privacy"), ("privacy", "fairness"), ("fairness", "privacy", "honesty")]
)
EXCLUDES = st.sampled_from([(), ("general",), ("general", "code")])


@settings(max_examples=60, deadline=None)
@given(
    raw=raw_scores(), couple=COUPLES, exclude=EXCLUDES, ratio=RATIOS,
    rule=st.sampled_from(["coupled", "released", "single:privacy", "single:code", "union"]),
    scope=st.sampled_from(["matrix", "layer", "model"]),
    target=st.sampled_from([None, "mlp", "attention", r".*layers\.1.*", "up"]),
)  # fmt: skip
def test_rules_equal_sets(
    raw: Raw, couple: Any, exclude: Any, ratio: str, rule: str, scope: Any, target: str | None
) -> None:
    patch = locate(
        make_scores(raw), couple, exclude, ratio=float(ratio), rule=rule, scope=scope,
        target_modules=target,
    )  # fmt: skip
    patterns = {None: "", "mlp": "mlp", "attention": "attn", "up": "up", r".*layers\.1.*": "s.1"}
    names = [name for name in SHAPES if patterns[target] in name]
    assert set(patch.info.matrices) == set(names)
    tops = {one: plain_tops(raw, one, ratio, scope, names) for one in DIMENSIONS}
    expected = {name: plain_selection(rule, tops, couple, exclude, name) for name in names}
    assert selection_of(patch) == {name: chosen for name, chosen in expected.items() if chosen}
    for name, indices in patch.indices.items():
        assert indices.tolist() == sorted(indices.tolist())
        original = weights_of(name).reshape(-1)[indices]
        assert torch.equal(patch.original[name], original)


@settings(max_examples=25, deadline=None)
@given(raw=raw_scores(), ratio=st.sampled_from(["0.1", "0.25", "0.3"]), seed=st.integers(0, 9))
def test_random_is_as_many_and_others(raw: Raw, ratio: str, seed: int) -> None:
    scores = make_scores(raw)
    couple, exclude = ("fairness", "privacy"), ("general",)
    chosen = locate(scores, couple, exclude, ratio=float(ratio))
    control = locate(scores, couple, exclude, ratio=float(ratio), rule="random", seed=seed)
    assert control.counts == chosen.counts
    ours, theirs = selection_of(control), selection_of(chosen)
    for name, positions in ours.items():
        assert not positions & theirs[name]
        expected = weights_of(name).reshape(-1)[control.indices[name]]
        assert torch.equal(control.original[name], expected)
    again = locate(scores, couple, exclude, ratio=float(ratio), rule="random", seed=seed)
    assert selection_of(again) == ours


def test_random_differs_by_seed() -> None:
    scores = make_scores(same_everywhere())
    couple = ("fairness", "privacy")
    drawn = [
        selection_of(locate(scores, couple, ratio=0.25, rule="random", seed=seed))
        for seed in range(5)
    ]
    assert all(one != other for one, other in itertools.combinations(drawn, 2))
    assert drawn[0]["layers.0.mlp.up"] != drawn[0]["layers.1.mlp.up"]


def test_random_without_room_is_refused() -> None:
    """Never fewer than the coupled ones without a word."""
    scores = make_scores(same_everywhere())
    with pytest.raises(ShortlistTooShort, match=r"random control needs 18 neurons .*hold 6"):
        locate(scores, ("fairness", "privacy"), ratio=0.75, rule="random", target_modules="up")


# --- how many -------------------------------------------------------------------------


@given(digits=st.integers(1, 99), exponent=st.integers(1, 9), size=st.integers(1, 3 * 10**8))
def test_k_is_the_exact_floor(digits: int, exponent: int, size: int) -> None:
    text = f"{digits}e-{exponent + 2}"
    exact = int((Decimal(text) * size).to_integral_value(ROUND_FLOOR))
    assert important(size, float(text)) == exact


@pytest.mark.parametrize(
    ("size", "ratio", "k"),
    [(3584 * 18944, 5e-7, 33), (4096 * 11008, 5e-7, 22), (4096 * 14336, 5e-7, 29),
     (3584 * 512, 5e-7, 0), (1000, 0.003, 3), (100, 0.29, 29), (10, 1, 10), (10**7, 1e-7, 1)],
)  # fmt: skip
def test_k_of_the_paper_s_models(size: int, ratio: float, k: int) -> None:
    """The paper's ratio in Qwen2-7B, Llama-2-7B and Mistral-7B; decimals that floats miss."""
    assert important(size, ratio) == k


@given(raw=raw_scores())
@settings(max_examples=10, deadline=None)
def test_no_k_anywhere_names_a_ratio_that_works(raw: Raw) -> None:
    scores = make_scores(raw)
    couple = ("fairness", "privacy")
    scope: Any
    for scope, largest, unit in [("matrix", 36, "matrices"), ("layer", 60, "layers"),
                                 ("model", 100, "models")]:  # fmt: skip
        with pytest.raises(SettingsError) as caught:
            locate(scores, couple, ratio=5e-7, scope=scope)
        message = str(caught.value)
        count = {"matrix": 4, "layer": 2, "model": 1}[scope]
        assert f"0 in {count} of {count} {unit}" in message
        found = re.search(r"selects something here is (\S+);", message)
        assert found
        smallest = float(found[1])
        assert important(largest, smallest) == 1
        assert smallest <= 1.1 / largest
        patch = locate(scores, couple, ratio=smallest, scope=scope, rule="union")
        assert len(patch) >= 1


@given(sizes=st.lists(st.integers(2, 10**8), min_size=1, max_size=4))
def test_the_smallest_ratio_named_really_selects(sizes: list[int]) -> None:
    from declutch.locating import ratio_notes

    matrices = {
        str(n): MatrixInfo(shape=(1, size), layer=0, kind="mlp") for n, size in enumerate(sizes)
    }
    with pytest.raises(SettingsError) as caught:
        ratio_notes(matrices, 1e-9, "matrix")
    found = re.search(r"selects something here is (\S+);", str(caught.value))
    assert found
    assert important(max(sizes), float(found[1])) >= 1
    # The message gives the ratio with two digits; one less in the last of them is too few.
    assert important(max(sizes), float(found[1]) * 0.89) == 0


def test_no_k_in_some_matrices_is_noted() -> None:
    patch = locate(make_scores(same_everywhere()), ("fairness", "privacy"), ratio=0.03)
    assert patch.info.notes == (
        "at ratio 0.03, k = floor(ratio · numel) is 0 in 3 of 4 matrices (16 to 24 neurons each); "
        "0.063 would reach all of them",
    )
    assert selection_of(patch) == {"layers.1.mlp.down": {35}}
    assert (
        locate(make_scores(same_everywhere()), ("fairness", "privacy"), ratio=0.063).info.notes
        == ()
    )


def test_an_empty_selection_is_noted() -> None:
    patch = locate(
        make_scores(same_everywhere()), ("fairness", "privacy"), ("honesty",), ratio=0.25
    )
    assert len(patch) == 0
    assert "No neuron of any of 4 matrices is chosen by «coupled»" in patch.info.notes[-1]
