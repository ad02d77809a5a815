"""The fingerprint tells one model from every other, whatever the width its weights are held in."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from declutch.models.fingerprint import _CHUNK, checksum, checksum_change, fingerprint, float_bits
from declutch.models.identity import describe
from tests.conftest import build_model
from tests.models.widths import in_dtype


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_narrow_model_and_its_widened_copy_are_one(dtype: torch.dtype) -> None:
    narrow = in_dtype(build_model("llama"), dtype)
    before = fingerprint(narrow)
    assert fingerprint(narrow.float()) == before
    assert fingerprint(build_model("llama")) != before


def test_it_is_the_same_again_and_for_another_seed_another() -> None:
    assert fingerprint(small()) == fingerprint(small())
    assert fingerprint(small()) != fingerprint(small(1))
    assert len(fingerprint(small())) == 64


def test_one_changed_weight() -> None:
    original = fingerprint(small())
    for position in (0, 34):
        model = small()
        with torch.no_grad():
            weight = model.get_parameter("0.weight").view(-1)
            weight[position] = torch.nextafter(weight[position], torch.tensor(9.0))
        assert fingerprint(model) != original


def test_swapped_weights() -> None:
    original = fingerprint(small())
    model = small()
    with torch.no_grad():
        weight = model.get_parameter("0.weight").view(-1)
        weight[[3, 20]] = weight[[20, 3]].clone()
    assert fingerprint(model) != original


def test_swapped_matrices_names_and_shapes() -> None:
    one, other = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    original = fingerprint(nn.ModuleDict({"a": one, "b": other}))
    assert fingerprint(nn.ModuleDict({"a": other, "b": one})) != original
    assert fingerprint(nn.ModuleDict({"a": one, "c": other})) != original
    flat = nn.Linear(8, 2, bias=False)
    with torch.no_grad():
        flat.weight.copy_(one.weight.detach().view(2, 8))
    original = fingerprint(one)
    assert checksum(flat.weight) == checksum(one.weight)
    assert fingerprint(flat) != original


def test_minus_zero_counts_as_zero_and_nan_as_itself() -> None:
    zeros = torch.tensor([0.0, 1.0, float("nan"), float("inf")])
    minus = torch.tensor([-0.0, 1.0, float("nan"), float("inf")])
    assert torch.equal(float_bits(zeros), float_bits(minus))
    assert checksum(zeros) == checksum(minus)
    assert checksum(zeros) != checksum(torch.tensor([0.0, 1.0, 2.0, float("inf")]))


VALUES = st.floats(width=32, allow_nan=True, allow_infinity=True)


@settings(max_examples=60, deadline=None)
@given(values=st.lists(VALUES, min_size=1, max_size=30), data=st.data())
def test_a_change_is_linear(values: list[float], data: st.DataObject) -> None:
    before = torch.tensor(values, dtype=torch.float32)
    places = data.draw(st.sets(st.integers(0, len(values) - 1), min_size=1))
    indices = torch.tensor(sorted(places))
    news = data.draw(st.lists(VALUES, min_size=len(places), max_size=len(places)))
    after = before.clone()
    after[indices] = torch.tensor(news, dtype=torch.float32)
    change = checksum_change(indices, before[indices], after[indices])
    assert (checksum(before) + change) % 2**64 == checksum(after)
    assert (checksum(after) + checksum_change(indices, after[indices], before[indices])) % (
        2**64
    ) == checksum(before)


def test_changes_give_back_the_original_s_fingerprint() -> None:
    model = small()
    original = fingerprint(model)
    weight = model.get_parameter("1.weight")
    indices = torch.tensor([2, 9])
    before = weight.detach().view(-1)[indices].clone()
    with torch.no_grad():
        weight.view(-1)[indices] = 0.0
    assert fingerprint(model) != original
    changes = {"1.weight": checksum_change(indices, torch.zeros(2), before)}
    assert fingerprint(model, changes) == original


@pytest.mark.parametrize("chunk", [64, 1000, 4096])
def test_a_checksum_is_its_formula_whatever_the_chunk(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: Tensor = torch.randn(1000)
    values[7] = -0.0
    bits = (values + 0.0).view(torch.int32).tolist()
    expected = sum(bit * (2 * n + 1) * 0x1E3779B97F4A7C15 for n, bit in enumerate(bits)) % 2**64
    monkeypatch.setitem(_CHUNK, "cpu", chunk)
    assert checksum(values) == expected
    assert checksum(values[:0]) == 0


def test_the_layout_in_memory_makes_no_difference() -> None:
    values = torch.randn(6, 4)
    assert checksum(values.T.contiguous().T) == checksum(values)


def test_describe() -> None:
    model = in_dtype(build_model("llama"), torch.bfloat16)
    info = describe(model, "me/mine")
    assert (info.id, info.dtype) == ("me/mine", "bfloat16")
    assert info.fingerprint == fingerprint(model)
    assert describe(small()).id == "Sequential"
