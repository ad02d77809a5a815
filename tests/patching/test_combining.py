"""Patches made of patches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from declutch.errors import PatchMismatch
from declutch.patching import Patch
from tests.conftest import build_model
from tests.patching.builders import (
    bits,
    make_patch,
    same_bits,
)


def pairs(patch: Patch) -> set[tuple[str, int]]:
    return {(name, int(index)) for name, one in patch.indices.items() for index in one}


def originals(patch: Patch) -> dict[tuple[str, int], float]:
    return {
        (name, int(index)): float(value)
        for name, one in patch.indices.items()
        for index, value in zip(one, patch.original[name], strict=True)
    }


_MODEL = build_model("llama")


@settings(max_examples=12, deadline=None)
@given(
    seeds=st.tuples(st.integers(0, 50), st.integers(0, 50)),
    sizes=st.tuples(st.sampled_from([0, 3, 300]), st.sampled_from([3, 300])),
    only=st.tuples(
        st.sampled_from(["", "mlp", "q_proj"]), st.sampled_from(["", "mlp", "layers.1"])
    ),
)
def test_union_intersection_difference(seeds: Any, sizes: Any, only: Any) -> None:
    first, second = (
        make_patch(_MODEL, 0.5, seed, size, part)
        for seed, size, part in zip(seeds, sizes, only, strict=True)
    )
    known = {**originals(first), **originals(second)}
    for result, expected in [
        (first | second, pairs(first) | pairs(second)),
        (first & second, pairs(first) & pairs(second)),
        (first - second, pairs(first) - pairs(second)),
        (second - first, pairs(second) - pairs(first)),
    ]:
        assert pairs(result) == expected
        assert originals(result) == {pair: known[pair] for pair in expected}
        assert all(len(one) for one in result.indices.values())
        assert all((one.diff() > 0).all() for one in result.indices.values())
        assert result.info.scale == 0.5
    assert (first | second).info.rule == "(coupled | coupled)"


def test_the_union_applies_and_is_saved(llama: PreTrainedModel, tmp_path: Path) -> None:
    patch = make_patch(llama, seed=1) | make_patch(llama, seed=2, only="mlp")
    before = bits(llama)
    Patch.load(patch.save(tmp_path)).apply(llama)
    patch.revert(llama)
    assert same_bits(llama, before)


def test_a_combined_patch_records_both_parents(llama: PreTrainedModel, tmp_path: Path) -> None:
    def made(number: int, **changes: Any) -> Patch:
        patch = make_patch(llama, seed=number)
        return patch.changed(patch.indices, patch.original, **changes)

    first = made(1, coupled=("a", "b"), excluded=("x", "y"), ratio=0.1, scores={"sha": "1"})
    second = made(2, rule="random", coupled=("b", "c"), excluded=("y",), ratio=0.2, seed=7)
    joined = first | second
    assert [parent.rule for parent in joined.info.parents] == [first.info.rule, "random"]
    assert [parent.checksum for parent in joined.info.parents] == [
        first.info.checksum, second.info.checksum,
    ]  # fmt: skip
    assert [parent.scores for parent in joined.info.parents] == [{"sha": "1"}, second.info.scores]
    assert (joined.info.ratio, joined.info.seed, joined.info.scores) == (None, None, {})
    assert joined.info.scope == first.info.scope
    assert (joined.info.coupled, joined.info.excluded) == (("a", "b", "c"), ("y",))
    assert (first & second).info.excluded == ("x", "y")
    less = first - second
    assert (less.info.coupled, less.info.excluded, less.info.ratio) == (("a", "b"), ("x", "y"), 0.1)
    assert len(less.info.parents) == 2
    both = (joined | less).info.parents[0]
    assert [parent.rule for parent in both.parents] == [first.info.rule, "random"]
    assert Patch.load(joined.save(tmp_path)) == joined
    for parent in joined.info.parents:
        assert parent.summary in joined.summary()


def test_a_union_with_other_provenance_is_another_patch(llama: PreTrainedModel) -> None:
    patch = make_patch(llama, seed=1)
    other = patch.changed(patch.indices, patch.original, rule="random")
    assert (patch | other) != (patch | patch)
    assert (patch | other).info.checksum != (patch | patch).info.checksum


def test_equality(llama: PreTrainedModel, tmp_path: Path) -> None:
    patch = make_patch(llama, seed=1)
    again = make_patch(llama, seed=1)
    assert patch == again
    assert hash(patch) == hash(again)
    assert Patch.load(patch.save(tmp_path)) == patch
    assert patch != make_patch(llama, seed=2)
    assert patch != patch.scaled(0.5)
    assert patch != "patch"
    name = next(iter(patch.original))
    values = {**patch.original, name: patch.original[name].clone()}
    values[name][0] += 1
    assert patch != Patch(patch.info, patch.indices, values)
    wide = {key: value.double() for key, value in patch.original.items()}
    assert patch != Patch(patch.info, patch.indices, wide)
    assert len({patch, again, patch.scaled(0.5)}) == 2


def test_patches_that_do_not_go_together(llama: PreTrainedModel) -> None:
    patch = make_patch(llama)
    with pytest.raises(PatchMismatch, match=r"scales 0 and 0.5.*patch\.scaled"):
        patch | patch.scaled(0.5)
    with pytest.raises(PatchMismatch, match="two models"):
        patch & make_patch(build_model("llama", seed=1))


def test_scaled(llama: PreTrainedModel) -> None:
    patch = make_patch(llama)
    half = patch.scaled(0.5)
    assert (patch.info.scale, half.info.scale) == (0.0, 0.5)
    assert half.info.checksum != patch.info.checksum
    assert pairs(half) == pairs(patch)
    with half.applied(llama):
        assert half.verify(llama) == "patched"
        with pytest.raises(PatchMismatch, match="another model"):
            patch.apply(llama)
    with patch.scaled(1.0).applied(llama):
        assert patch.verify(llama) == "original"
