"""Applying and reverting, bit for bit, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from declutch.errors import PatchMismatch
from declutch.patching import Patch
from declutch.scoring.shortlists import Shortlist
from tests.conftest import build_model
from tests.models.widths import in_dtype
from tests.patching.builders import (
    ARCHITECTURES,
    DTYPES,
    bits,
    changed,
    make_patch,
    same_bits,
    values_of,
)


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
