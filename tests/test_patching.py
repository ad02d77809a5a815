"""Applying and reverting, what is refused, patches made of patches, and files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from declutch.errors import FileFormatError, PatchMismatch
from declutch.models.identity import MatrixInfo, describe
from declutch.models.matrices import find_matrices
from declutch.patching import Patch, PatchInfo
from declutch.scoring.shortlists import Shortlist
from tests.conftest import build_model
from tests.models.widths import in_dtype

ARCHITECTURES = ("llama", "gpt2", "mixtral", "gpt_oss")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def bits(model: PreTrainedModel) -> dict[str, Tensor]:
    """Every parameter's bits."""
    return {
        name: parameter.detach().clone().contiguous().view(torch.uint8)
        for name, parameter in model.named_parameters()
    }


def same_bits(model: PreTrainedModel, before: Mapping[str, Tensor]) -> bool:
    after = bits(model)
    return after.keys() == before.keys() and all(
        torch.equal(after[name], one) for name, one in before.items()
    )


def make_patch(
    model: PreTrainedModel, scale: float = 0.0, seed: int = 0, each: int = 5,
    only: str = "", **facts: Any,
) -> Patch:  # fmt: skip
    """A patch of random positions in every matrix of a model."""
    generator = np.random.default_rng(seed)
    parameters = dict(model.named_parameters())
    matrices = find_matrices(model, "all").matrices
    selection, shortlists = {}, {}
    for matrix in matrices:
        flat = matrix.view(parameters[matrix.parameter].detach()).reshape(-1)
        chosen = torch.from_numpy(generator.permutation(matrix.numel)[: 2 * each])
        shortlists[matrix.name] = Shortlist(chosen, torch.zeros(len(chosen)), flat[chosen].clone())
        if only in matrix.name and each:
            selection[matrix.name] = chosen[:each].numpy()
    info = PatchInfo(
        model=describe(model, "me/mine"), rule="coupled", ratio=1e-4, scale=scale,
        coupled=("fairness", "privacy"), excluded=("general",), target_modules="all",
        matrices={
            one.name: MatrixInfo(shape=one.shape, layer=one.layer, kind=one.kind)
            for one in matrices
        },
        **facts,
    )  # fmt: skip
    return Patch.from_selection(info, selection, {"fairness": shortlists})


def values_of(model: PreTrainedModel, patch: Patch) -> dict[str, Tensor]:
    parameters = dict(model.named_parameters())
    return {
        matrix.name: matrix.view(parameters[matrix.parameter].detach())
        .reshape(-1)[patch.indices[matrix.name]]
        .clone()
        for matrix in find_matrices(model, "all").matrices
        if matrix.name in patch.indices
    }


def changed(model: PreTrainedModel, name: str, step: float = 1.0, at: int = -1) -> None:
    with torch.no_grad():
        model.get_parameter(name).view(-1)[at] += step


@pytest.fixture
def llama() -> PreTrainedModel:
    return build_model("llama")


# --- apply and revert -----------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0.0, 0.5, -1.0])
def test_apply_then_revert(architecture: str, dtype: torch.dtype, scale: float) -> None:
    model = in_dtype(build_model(architecture), dtype)
    patch = make_patch(model, scale)
    before, old = bits(model), values_of(model, patch)
    assert patch.verify(model) == "original"
    patch.apply(model)
    assert patch.verify(model) == "patched"
    for name, new in values_of(model, patch).items():
        assert torch.equal(new, old[name] * scale), name
    after = bits(model)
    count = sum(int((after[name] != one).view(-1, dtype.itemsize).any(1).sum())
                for name, one in before.items())  # fmt: skip
    assert count == len(patch)
    patch.revert(model)
    assert same_bits(model, before)
    assert patch.verify(model) == "original"


def test_suppressed_is_plain_zero(llama: PreTrainedModel) -> None:
    patch = make_patch(llama)
    patch.apply(llama)
    for values in values_of(llama, patch).values():
        assert (values == 0).all()
        assert not torch.signbit(values).any()


@pytest.mark.parametrize("fail", [False, True])
def test_applied_puts_back(llama: PreTrainedModel, fail: bool) -> None:
    patch, before = make_patch(llama), bits(llama)

    def use() -> None:
        with patch.applied(llama) as model:
            assert model is llama
            assert patch.verify(llama) == "patched"
            if fail:
                raise KeyboardInterrupt

    if fail:
        with pytest.raises(KeyboardInterrupt):
            use()
    else:
        use()
    assert same_bits(llama, before)


@pytest.mark.parametrize("special", [-0.0, 0.0, float("nan"), float("inf"), float("-inf"), 1e-45])
@pytest.mark.parametrize("scale", [0.0, 0.5, -1.0])
def test_special_weights(llama: PreTrainedModel, special: float, scale: float) -> None:
    name = "model.layers.0.mlp.down_proj"
    with torch.no_grad():
        llama.get_parameter(f"{name}.weight").fill_(special)
    patch = make_patch(llama, scale, only=name)
    before = bits(llama)
    patch.apply(llama)
    (values,) = values_of(llama, patch).values()
    expected = torch.tensor(0.0 if scale == 0 else special) * (scale or 1)
    assert torch.equal(values.nan_to_num(7.0), expected.expand(5).nan_to_num(7.0))
    patch.revert(llama)
    assert same_bits(llama, before)


def test_weights_that_are_zero_already(llama: PreTrainedModel) -> None:
    """Applied or not, the model is the same; neither way is refused."""
    name = "model.layers.0.mlp.down_proj"
    with torch.no_grad():
        llama.get_parameter(f"{name}.weight").zero_()
    patch, before = make_patch(llama, only=name), bits(llama)
    patch.apply(llama)
    assert patch.verify(llama) in ("original", "patched")
    patch.revert(llama)
    assert same_bits(llama, before)


def test_some_weights_that_are_zero_already(llama: PreTrainedModel) -> None:
    with torch.no_grad():
        llama.get_parameter("model.layers.0.mlp.down_proj.weight").zero_()
    patch = make_patch(llama)
    assert patch.verify(llama) == "original"
    patch.apply(llama)
    with pytest.raises(PatchMismatch, match="applied to this model already"):
        patch.apply(llama)
    patch.revert(llama)
    assert patch.verify(llama) == "original"


def test_an_empty_patch(llama: PreTrainedModel, tmp_path: Path) -> None:
    patch, before = make_patch(llama, each=0), bits(llama)
    assert len(patch) == 0
    patch.apply(llama)
    patch.revert(llama)
    assert same_bits(llama, before)
    patch.save(tmp_path)
    assert len(Patch.load(tmp_path)) == 0
    assert patch.summary().startswith("0 of ")
    changed(llama, "lm_head.weight")
    with pytest.raises(PatchMismatch, match="fingerprint"):
        patch.apply(llama)


def test_a_patch_made_on_a_widened_model_fits_the_narrow_one() -> None:
    narrow = in_dtype(build_model("llama"), torch.bfloat16)
    wide = in_dtype(build_model("llama"), torch.bfloat16).float()
    patch, before = make_patch(wide, 0.5), bits(narrow)
    patch.apply(narrow)
    patch.revert(narrow)
    assert same_bits(narrow, before)
    make_patch(narrow, 0.5).apply(wide)
    assert patch.verify(wide) == "patched"


def test_a_model_that_needs_gradients(llama: PreTrainedModel) -> None:
    assert all(parameter.requires_grad for parameter in llama.parameters())
    with make_patch(llama).applied(llama):
        llama(input_ids=torch.arange(5, 9)[None]).logits.sum().backward()
    assert all(parameter.is_leaf for parameter in llama.parameters())


# --- refusals -------------------------------------------------------------------------


@pytest.mark.parametrize("check", [True, False])
def test_applied_twice_and_reverted_unapplied(llama: PreTrainedModel, check: bool) -> None:
    patch, before = make_patch(llama), bits(llama)
    with pytest.raises(PatchMismatch, match="not applied to this model"):
        patch.revert(llama, check=check)
    patch.apply(llama, check=check)
    after = bits(llama)
    with pytest.raises(PatchMismatch, match="applied to this model already"):
        patch.apply(llama, check=check)
    assert same_bits(llama, after)
    patch.revert(llama, check=check)
    assert same_bits(llama, before)


@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.1.mlp.up_proj.weight"])
def test_one_other_weight_differs(llama: PreTrainedModel, name: str) -> None:
    patch = make_patch(llama, only="q_proj")
    changed(llama, name, 1e-3)
    before = bits(llama)
    with pytest.raises(PatchMismatch, match=r"fingerprint of me/mine .*Score that model itself"):
        patch.apply(llama)
    with pytest.raises(PatchMismatch, match="fingerprint"):
        patch.verify(llama)
    assert same_bits(llama, before)
    patch.apply(llama, check=False)
    with pytest.raises(PatchMismatch, match="fingerprint"):
        patch.revert(llama)
    patch.revert(llama, check=False)
    assert same_bits(llama, before)


@pytest.mark.parametrize("check", [True, False])
def test_one_of_its_own_weights_differs(llama: PreTrainedModel, check: bool) -> None:
    """The place is named, and nothing is written."""
    patch = make_patch(llama, only="layers.1.mlp.down_proj")
    name = "model.layers.1.mlp.down_proj"
    place = int(patch.indices[name][2])
    changed(llama, f"{name}.weight", 1.0, place)
    before = bits(llama)
    expected = rf"{name}\[{place // 48}, {place % 48}\] is .*\(1 of 5 differ there\)"
    with pytest.raises(PatchMismatch, match=expected):
        patch.apply(llama, check=check)
    with pytest.raises(PatchMismatch, match=r"another model \(me/mine\)"):
        patch.revert(llama, check=check)
    assert same_bits(llama, before)


def test_another_seed_shape_or_architecture(llama: PreTrainedModel) -> None:
    patch = make_patch(llama, only="mlp")
    with pytest.raises(PatchMismatch, match=r"another model \(me/mine\)"):
        patch.apply(build_model("llama", seed=1))
    wider = build_model("llama", intermediate_size=64)
    with pytest.raises(PatchMismatch, match=r"is \[64, 32\] here and \[48, 32\] in me/mine"):
        patch.apply(wider)
    shorter = build_model("llama", num_hidden_layers=1)
    with pytest.raises(PatchMismatch, match=r"no weight matrix «model\.layers\.1"):
        patch.apply(shorter)
    with pytest.raises(PatchMismatch, match="no weight matrix"):
        patch.apply(build_model("gpt2"))


def test_a_narrower_model_is_another(llama: PreTrainedModel) -> None:
    patch = make_patch(llama)
    with pytest.raises(PatchMismatch, match="another model"):
        patch.apply(in_dtype(llama, torch.bfloat16))


def test_a_position_of_unknown_value_is_refused(llama: PreTrainedModel) -> None:
    patch = make_patch(llama)
    name, shortlist = "m", Shortlist(torch.tensor([4, 2]), torch.zeros(2), torch.ones(2))
    for position in (3, 9):
        with pytest.raises(ValueError, match="none of its shortlists"):
            Patch.from_selection(
                patch.info, {name: np.array([2, position])}, {"a": {name: shortlist}}
            )


# --- patches of patches ---------------------------------------------------------------


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


# --- files ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_save_and_load(dtype: torch.dtype, tmp_path: Path) -> None:
    model = in_dtype(build_model("mixtral"), dtype)
    patch = make_patch(
        model, 0.25, scores={"settings": {"shape": (1, 2), "seed": 0}}, notes=("A note.",)
    )
    assert patch.save(tmp_path / "patch") == tmp_path / "patch"
    assert sorted(one.name for one in (tmp_path / "patch").iterdir()) == [
        "patch.json", "patch.safetensors",
    ]  # fmt: skip
    loaded = Patch.load(tmp_path / "patch")
    assert loaded.info.model_dump(mode="json") == patch.info.model_dump(mode="json")
    assert list(loaded.indices) == sorted(patch.indices)
    for name, indices in patch.indices.items():
        assert torch.equal(loaded.indices[name], indices)
        assert loaded.original[name].dtype == dtype
        assert torch.equal(loaded.original[name], patch.original[name])
    before = bits(model)
    loaded.apply(model)
    patch.revert(model)
    assert same_bits(model, before)


def edit_json(folder: Path, **changes: Any) -> None:
    path = folder / "patch.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes",
    [{"scale": 0.5}, {"rule": "union"}, {"ratio": 1e-3}, {"coupled": ["a", "b"]}, {"seed": 1},
     {"checksum": "0" * 64}],
)  # fmt: skip
def test_changed_facts_are_found(
    changes: dict[str, Any], llama: PreTrainedModel, tmp_path: Path
) -> None:
    make_patch(llama).save(tmp_path)
    edit_json(tmp_path, **changes)
    with pytest.raises(FileFormatError, match="checksum differs"):
        Patch.load(tmp_path)


def test_changed_shapes_and_fingerprint_are_found(llama: PreTrainedModel, tmp_path: Path) -> None:
    patch = make_patch(llama)
    facts = json.loads((patch.save(tmp_path) / "patch.json").read_text())
    matrices = dict(facts["matrices"])
    matrices.popitem()
    model = {**facts["model"], "fingerprint": "0" * 64}
    for changes in ({"matrices": matrices}, {"model": model}):
        patch.save(tmp_path, overwrite=True)
        edit_json(tmp_path, **changes)
        with pytest.raises(FileFormatError, match=r"checksum differs|says nothing of"):
            Patch.load(tmp_path)


def test_what_may_be_worded_anew(llama: PreTrainedModel, tmp_path: Path) -> None:
    make_patch(llama, notes=("Old.",)).save(tmp_path)
    edit_json(tmp_path, notes=["New."], versions={"declutch": "9"})
    assert Patch.load(tmp_path).info.notes == ("New.",)


@pytest.mark.parametrize("key", ["indices", "original"])
def test_changed_tensors_are_found(key: str, llama: PreTrainedModel, tmp_path: Path) -> None:
    make_patch(llama).save(tmp_path)
    tensors = load_file(tmp_path / "patch.safetensors")
    name = f"model.layers.0.mlp.up_proj/{key}"
    tensors[name][1] += 1
    save_file(tensors, tmp_path / "patch.safetensors")
    with pytest.raises(FileFormatError, match="checksum differs"):
        Patch.load(tmp_path)
    del tensors[name]
    save_file(tensors, tmp_path / "patch.safetensors")
    with pytest.raises(FileFormatError, match=r"has no tensor|checksum differs"):
        Patch.load(tmp_path)


def test_a_pair_that_does_not_match(llama: PreTrainedModel, tmp_path: Path) -> None:
    first = make_patch(llama, seed=1).save(tmp_path / "a")
    second = make_patch(llama, seed=2).save(tmp_path / "b")
    shutil.copy(first / "patch.json", second / "patch.json")
    with pytest.raises(FileFormatError, match=r"does not belong to the patch\.json beside it"):
        Patch.load(second)


@pytest.mark.parametrize("size", [0, 5, 100, -10])
def test_damaged_tensors(size: int, llama: PreTrainedModel, tmp_path: Path) -> None:
    make_patch(llama).save(tmp_path)
    path = tmp_path / "patch.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(FileFormatError, match=r"patch\.safetensors is missing or damaged"):
        Patch.load(tmp_path)


def test_missing_and_damaged_files(llama: PreTrainedModel, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"patch\.json does not exist"):
        Patch.load(tmp_path / "gone")
    make_patch(llama).save(tmp_path)
    edit_json(tmp_path, format_version=2)
    with pytest.raises(FileFormatError, match="format_version 2; this declutch reads 1"):
        Patch.load(tmp_path)
    edit_json(tmp_path, format_version=1, surprise=1)
    with pytest.raises(FileFormatError, match="surprise"):
        Patch.load(tmp_path)
    (tmp_path / "patch.json").write_text("{")
    with pytest.raises(FileFormatError, match="not valid JSON"):
        Patch.load(tmp_path)
    make_patch(llama).save(tmp_path, overwrite=True)
    (tmp_path / "patch.safetensors").unlink()
    with pytest.raises(FileFormatError, match="does not exist"):
        Patch.load(tmp_path)


def test_no_pickle(llama: PreTrainedModel, tmp_path: Path) -> None:
    path = make_patch(llama).save(tmp_path) / "patch.safetensors"
    length = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + length])
    assert header["model.layers.0.mlp.up_proj/indices"]["dtype"] == "I64"
    assert header["model.layers.0.mlp.up_proj/original"]["dtype"] == "F32"


# --- for people -----------------------------------------------------------------------


def test_summary(llama: PreTrainedModel) -> None:
    patch = make_patch(llama, only="layers.1.mlp", notes=("A note.",))
    total = patch.numel
    assert total == find_matrices(llama, "all").numel
    assert patch.summary().split("\n") == [
        f"15 of {total:,} weights ({15 / total:.1e}) in 3 of 14 matrices of me/mine",
        "important for fairness and privacy, less general; rule coupled, ratio 0.0001 of each "
        "matrix, target all; multiplied by 0",
        "  layer 1: 15 (gate_proj 5, up_proj 5, down_proj 5)",
        "note: A note.",
    ]
    assert sum(patch.counts.values()) == len(patch) == 15
    assert patch.counts["model.layers.0.mlp.up_proj"] == 0


@pytest.mark.parametrize(
    ("key", "change", "said"),
    [
        ("indices", lambda t: t.to(torch.int32), "must be int64"),
        ("indices", lambda t: t.float(), "must be int64"),
        ("indices", lambda t: t.flip(0), "not ascending"),
        ("indices", lambda t: t - 10**6, "not within"),
        ("indices", lambda t: t + 10**12, "not within"),
        ("indices", lambda t: t[None], "positions for"),
        ("original", lambda t: t[:-1], "positions for"),
        ("original", lambda t: t.to(torch.uint8), "torch.uint8, which no model"),
        ("original", lambda t: t.to(torch.complex64), "torch.complex64, which no model"),
    ],
)
def test_tensors_that_no_patch_has(
    key: str, change: Any, said: str, llama: PreTrainedModel, tmp_path: Path
) -> None:
    path = make_patch(llama).save(tmp_path) / "patch.safetensors"
    tensors = load_file(path)
    name = f"model.layers.0.mlp.up_proj/{key}"
    save_file({**tensors, name: change(tensors[name]).contiguous()}, path)
    with pytest.raises(FileFormatError, match=said):
        Patch.load(tmp_path)
