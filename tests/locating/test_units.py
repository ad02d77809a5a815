"""Whole units against brute force: autograd example by example, summed over the unit's weights.

Which weights are a unit's is written down here by hand, architecture by architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from declutch.data.encoding import EncodedExample, Encoder
from declutch.errors import FileFormatError, PatchMismatch, SettingsError
from declutch.files import read_json, write_json
from declutch.locating import locate
from declutch.models.matrices import find_matrices
from declutch.patching import Patch
from declutch.scoring.score import score
from declutch.scoring.shortlists import Scores
from tests.conftest import build_model, build_tokenizer
from tests.scoring.test_importance import brute_force
from tests.scoring.test_score import DATA

COUPLE, HIDDEN, INNER, HEADS, WIDTH = ("fairness", "privacy"), 32, 48, 4, 8
Mask = dict[str, tuple[Sequence[int], Sequence[int]]]  # by matrix: rows, columns
Slices = dict[str, dict[int, Mask]]  # by block and unit
ALL = range(1000)


def rows(*numbers: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    return [number for one in numbers for number in one], ALL


def columns(numbers: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    return ALL, numbers


def head(number: int, start: int = 0) -> range:
    return range(start + number * WIDTH, start + (number + 1) * WIDTH)


def units_of(architecture: str, granularity: str) -> Slices:
    """Block, unit, and its rows or columns in each matrix."""
    found: Slices = {}
    for layer in range(2):
        for block, unit, mask in _UNITS[architecture, granularity](layer):
            found.setdefault(block, {})[unit] = {f"{block}.{k}": v for k, v in mask.items()}
    return found


def gated_neurons(layer: int) -> Iterator[tuple[str, int, Mask]]:
    for j in range(INNER):
        mask = {"gate_proj": rows([j]), "up_proj": rows([j]), "down_proj": columns([j])}
        yield f"model.layers.{layer}.mlp", j, mask


def fused_neurons(layer: int) -> Iterator[tuple[str, int, Mask]]:
    for j in range(INNER):
        mask = {"gate_up_proj": rows([j, INNER + j]), "down_proj": columns([j])}
        yield f"model.layers.{layer}.mlp", j, mask


def plain_neurons(path: str, first: str, last: str, inner: int) -> Callable[[int], Any]:
    def units(layer: int) -> Iterator[tuple[str, int, Mask]]:
        for j in range(inner):
            yield f"{path}.{layer}.mlp", j, {first: rows([j]), last: columns([j])}

    return units


def expert_neurons(pair: Callable[[int], list[int]]) -> Callable[[int], Any]:
    def units(layer: int) -> Iterator[tuple[str, int, Mask]]:
        for e in range(4):
            for j in range(INNER):
                mask = {f"gate_up_proj[{e}]": rows(pair(j)), f"down_proj[{e}]": columns([j])}
                yield f"model.layers.{layer}.mlp.experts", e * INNER + j, mask

    return units


def experts(layer: int) -> Iterator[tuple[str, int, Mask]]:
    for e in range(4):
        mask = {f"gate_up_proj[{e}]": rows(ALL), f"down_proj[{e}]": rows(ALL)}
        yield f"model.layers.{layer}.mlp.experts", e, mask


def grouped_heads(layer: int) -> Iterator[tuple[str, int, Mask]]:
    """Keys and values are shared by two heads each, and belong to none."""
    for h in range(HEADS):
        mask = {"q_proj": rows(head(h)), "o_proj": columns(head(h))}
        yield f"model.layers.{layer}.self_attn", h, mask


def fused_grouped_heads(layer: int) -> Iterator[tuple[str, int, Mask]]:
    for h in range(HEADS):
        mask = {"qkv_proj": rows(head(h)), "o_proj": columns(head(h))}
        yield f"model.layers.{layer}.self_attn", h, mask


def gpt2_heads(layer: int) -> Iterator[tuple[str, int, Mask]]:
    for h in range(HEADS):
        mine = rows(head(h), head(h, HIDDEN), head(h, 2 * HIDDEN))
        yield f"transformer.h.{layer}.attn", h, {"c_attn": mine, "c_proj": columns(head(h))}


def neox_heads(layer: int) -> Iterator[tuple[str, int, Mask]]:
    for h in range(HEADS):
        mine = rows(range(3 * h * WIDTH, 3 * (h + 1) * WIDTH))
        mask = {"query_key_value": mine, "dense": columns(head(h))}
        yield f"gpt_neox.layers.{layer}.attention", h, mask


def multi_heads(layer: int) -> Iterator[tuple[str, int, Mask]]:
    for h in range(HEADS):
        mask = {f"{name}_proj": rows(head(h)) for name in "qkv"}
        yield f"model.layers.{layer}.self_attn", h, {**mask, "o_proj": columns(head(h))}


_UNITS: dict[tuple[str, str], Callable[[int], Any]] = {
    **{(name, "neuron"): gated_neurons for name in ("llama", "qwen2", "mistral", "gemma2")},
    ("phi3", "neuron"): fused_neurons,
    ("gpt2", "neuron"): plain_neurons("transformer.h", "c_fc", "c_proj", 4 * HIDDEN),
    ("gpt_neox", "neuron"): plain_neurons(
        "gpt_neox.layers", "dense_h_to_4h", "dense_4h_to_h", INNER
    ),
    ("mixtral", "neuron"): expert_neurons(lambda j: [j, INNER + j]),
    ("gpt_oss", "neuron"): expert_neurons(lambda j: [2 * j, 2 * j + 1]),
    **{
        (name, "head"): grouped_heads
        for name in ("llama", "qwen2", "mistral", "gemma2", "mixtral", "gpt_oss")
    },
    ("phi3", "head"): fused_grouped_heads,
    ("gpt2", "head"): gpt2_heads,
    ("gpt_neox", "head"): neox_heads,
    ("mixtral", "expert"): experts,
    ("gpt_oss", "expert"): experts,
}
MULTI = {"num_key_value_heads": HEADS}
_UNITS["multi", "head"] = multi_heads


def build(architecture: str) -> PreTrainedModel:
    return build_model("llama", **MULTI) if architecture == "multi" else build_model(architecture)


def scored(model: PreTrainedModel, **options: Any) -> Scores:
    given = {"target_modules": "all", "prompt_format": "raw", **options}
    return score(model, build_tokenizer(), DATA, **given)


def encoded(name: str, which: str = "response") -> list[EncodedExample]:
    encoder = Encoder(build_tokenizer(), "raw")
    examples = [(one.prompt, getattr(one, which)) for one in DATA[name]]
    return [
        encoder.encode(type(DATA[name][0])(prompt=prompt, response=response))
        for prompt, response in examples
    ]


def by_hand(matrices: dict[str, Tensor], slices: Slices) -> dict[tuple[str, int], float]:
    """The sum over each unit's weights."""
    sums = {}
    for block, units in slices.items():
        for unit, mask in units.items():
            total = 0.0
            for name, (rows, columns) in mask.items():
                whole = matrices[name]
                chosen = torch.zeros(whole.shape, dtype=torch.bool)
                chosen[
                    torch.tensor([n for n in rows if n < whole.shape[0]])[:, None],
                    torch.tensor([n for n in columns if n < whole.shape[1]]),
                ] = True
                total += float(whole[chosen].sum())
            sums[block, unit] = total
    return sums


def in_expert(one: Any) -> tuple[str, int]:
    """A neuron of a stacked expert as this test numbers it."""
    block, _, number = one.block.partition("[")
    return block, one.unit + INNER * int(number.rstrip("]") or 0 if number else 0)


@pytest.mark.parametrize(("architecture", "granularity"), _UNITS)
def test_scores_of_units_equal_brute_force(architecture: str, granularity: str) -> None:
    model, slices = build(architecture), units_of(architecture, granularity)
    scores = scored(model, contrast=("fairness",), no_harmless=True)
    patch = locate(
        scores, COUPLE, rule="union", ratio=1.0, granularity=granularity, model=model
    )  # fmt: skip
    expected = {name: by_hand(brute_force(model, encoded(name), "all"), slices) for name in COUPLE}
    good = brute_force(model, encoded("fairness"), "all", "signed")
    bad = brute_force(model, encoded("fairness", "bad_response"), "all", "signed")
    contrast = {name: good[name] - bad[name] for name in good}
    expected["fairness:contrast"] = by_hand(contrast, slices)
    for name, sums in expected.items():
        found = {in_expert(one): one.scores[name] for one in patch.info.units}
        assert found.keys() == sums.keys()
        largest = max(abs(one) for one in sums.values())
        for key, one in found.items():
            assert one == pytest.approx(sums[key], rel=2e-4, abs=1e-5 * largest), (name, key)


@pytest.mark.parametrize(("architecture", "granularity"), _UNITS)
def test_a_patch_is_the_weights_of_its_units(architecture: str, granularity: str) -> None:
    model, slices = build(architecture), units_of(architecture, granularity)
    before = {name: one.clone() for name, one in model.state_dict().items()}
    patch = locate(
        scored(model), COUPLE, rule="single:privacy", ratio=0.3, granularity=granularity,
        scope="layer", model=model,
    )  # fmt: skip
    shapes = {one.name: one.shape for one in find_matrices(model, "all").matrices}
    expected: dict[str, set[int]] = {}
    for one in patch.info.units:
        block, unit = in_expert(one)
        size = 0
        for name, (rows, columns) in slices[block][unit].items():
            out, inner = shapes[name]
            flat = {r * inner + c for r in rows if r < out for c in columns if c < inner}
            expected.setdefault(name, set()).update(flat)
            size += len(flat)
        assert one.weights == size
    assert expected
    assert {name: set(one.tolist()) for name, one in patch.indices.items()} == expected
    named = {name for units in slices.values() for mask in units.values() for name in mask}
    assert set(patch.info.matrices) == named
    with patch.applied(model):
        assert any(not torch.equal(before[name], one) for name, one in model.state_dict().items())
    assert all(torch.equal(before[name], one) for name, one in model.state_dict().items())


@pytest.mark.parametrize(
    ("granularity", "last"), [("neuron", "mlp.down_proj"), ("head", "self_attn.o_proj")]
)
def test_a_suppressed_unit_gives_nothing(granularity: str, last: str) -> None:
    """The model is then what it is with the unit's activations set to zero."""
    model, ids = build_model("llama"), torch.tensor([[5, 9, 40, 7, 100]])
    patch = locate(
        scored(model), COUPLE, rule="single:privacy", ratio=0.3, granularity=granularity,
        model=model,
    )  # fmt: skip
    with patch.applied(model), torch.no_grad():
        patched = model(ids).logits
    width = WIDTH if granularity == "head" else 1

    def without(_: Any, args: tuple[Tensor], units: list[int]) -> tuple[Tensor]:
        x = args[0].clone()
        for unit in units:
            x[..., unit * width : (unit + 1) * width] = 0
        return (x,)

    for layer in range(2):
        block = f"model.layers.{layer}.{last}"
        mine = [one.unit for one in patch.info.units if block.startswith(one.block)]
        assert mine
        module = model.get_submodule(block)
        module.register_forward_pre_hook(lambda m, args, mine=mine: without(m, args, mine))
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, patched, rtol=1e-4, atol=1e-5)


def sets_of(patch: Patch) -> set[tuple[str, int]]:
    return {(one.block, one.unit) for one in patch.info.units}


def test_every_rule_chooses_units() -> None:
    model = build_model("llama")
    scores = scored(model, contrast=COUPLE, no_harmless=True)

    def found(rule: str, **options: Any) -> Patch:
        return locate(
            scores, COUPLE, ("general",), rule=rule, granularity="neuron", model=model,
            **{"ratio": 0.5, **options},
        )  # fmt: skip

    slices = units_of("llama", "neuron")
    tops: dict[str, set[tuple[str, int]]] = {}
    for name in (*COUPLE, "general"):
        sums = by_hand(brute_force(model, encoded(name), "all"), slices)
        tops[name] = set()
        for block in slices:
            ranked = sorted(range(INNER), key=lambda unit: -sums[block, unit])
            tops[name] |= {(block, unit) for unit in ranked[: INNER // 2]}
    expected = tops["fairness"] & tops["privacy"] - tops["general"]
    coupled = found("coupled")
    assert sets_of(coupled) == expected
    assert expected
    assert sets_of(found("union")) == (tops["fairness"] | tops["privacy"]) - tops["general"]
    assert sets_of(found("single:privacy")) == tops["privacy"] - tops["general"]
    random = found("random")
    assert len(random) == len(coupled)
    assert not sets_of(random) & expected
    assert sets_of(found("released")) <= tops["fairness"]
    contrast = found("contrast")
    assert contrast.info.units
    for one in contrast.info.units:
        assert one.scores["fairness:contrast"] > 0
        assert one.scores["privacy:contrast"] > 0
    size = coupled.info.units[0].weights
    balanced = found("balanced", weights=3 * size + 1, budget=10.0)
    assert 0 < len(balanced) <= 3 * size
    assert balanced.info.choice["weights"]["used"] == len(balanced)


def test_a_patch_of_units_comes_back_from_disk(tmp_path: Path) -> None:
    model = build_model("llama")
    patch = locate(
        scored(model), COUPLE, rule="union", ratio=0.25, granularity="head", scope="model",
        model=model,
    )  # fmt: skip
    patch.save(tmp_path)
    again = Patch.load(tmp_path)
    assert again == patch
    assert again.info.units == patch.info.units
    assert again.info.granularity == "head"
    path = tmp_path / "patch.json"
    facts = read_json(path)
    facts["units"][0]["unit"] += 1
    write_json(path, facts)
    with pytest.raises(FileFormatError, match="checksum"):
        Patch.load(tmp_path)
    assert (patch | again).info.units == ()  # joined, they are described by their parents
    assert (patch | again).info.parents[0].granularity == "head"


def refused(message: str, **options: Any) -> None:
    model = options.pop("model", build_model("llama"))
    scores = options.pop("scores", None) or scored(model)
    given = {"ratio": 0.5, "granularity": "neuron", "model": model, **options}
    with pytest.raises((SettingsError, PatchMismatch), match=message):
        locate(scores, COUPLE, **given)


def test_what_can_not_be() -> None:
    llama = build_model("llama")
    scores = scored(llama)
    refused("needs the model that was scored", scores=scores, model=None)
    refused("another model", scores=scores, model=build_model("llama", seed=1))
    refused("no experts can be told", scores=scores, granularity="expert")
    refused(r"up_proj is not among those.*widen", scores=scores, target_modules="gate.*|down.*")
    refused("none of the 2 modules that have heads", scores=scores, granularity="head",
            target_modules="mlp")  # fmt: skip
    refused(r"k = floor.*0 in 2 of 2 modules \(48 to 48 neurons each\).* is 0.021\.$",
            scores=scores, ratio=1e-3)  # fmt: skip
    refused("«neurons» is unknown; give weight, neuron", scores=scores, granularity="neurons")


def test_scores_of_before_sums_were_kept(tmp_path: Path) -> None:
    model = build_model("llama")
    old = scored(model, target_modules="mlp")
    for name, matrices in old.shortlists.items():
        old.shortlists[name] = {
            matrix: type(one)(one.indices, one.scores, one.weights)
            for matrix, one in matrices.items()
        }
    old.save(tmp_path)
    path = tmp_path / "scores.json"
    write_json(path, {**read_json(path), "format_version": 3})
    again = Scores.load(tmp_path)
    assert len(locate(again, COUPLE, ratio=1e-3, rule="union"))
    refused("scores of fairness have none. Score again", scores=again, model=model)
