"""Representations by hooks, pairings, rows and their comparison."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from declutch.data.encoding import Encoder
from declutch.errors import DataError, ModelError, SettingsError
from declutch.evaluating.compare import compare
from declutch.evaluating.evaluate import evaluate
from declutch.items import read_items
from declutch.measures.base import Evidence
from declutch.measures.dependence import Dependence, hsic
from declutch.measures.dependence.representations import Representations, representations
from declutch.measures.dependence.rows import (
    DependenceItem,
    dependence_change,
    dependence_rows,
    pair_indices,
    paired_prompts,
)
from declutch.suites.base import PromptItem, PromptSet, Suite
from tests.scoring.test_passes import Again


def some(n: int, seed: int, layers: int = 2) -> Representations:
    generator = np.random.default_rng(seed)
    return Representations(
        {"last": generator.standard_normal((layers, n, 3))}, tuple(range(5, 5 + n))
    )


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2", "mixtral"])
def test_representations_are_the_hidden_states_of_each_prompt_alone(
    tiny_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: PreTrainedTokenizerFast,
    architecture: str,
) -> None:
    model = tiny_model(architecture)
    encoder = Encoder(tiny_tokenizer, "raw")
    prompts = ["the quick brown fox", "a secret", "tells the lazy dog a secret again"]
    found = representations(model, encoder, prompts, max_tokens=60)
    assert not any(module._forward_hooks for module in model.modules())
    assert found.layers["last"].shape == found.layers["mean"].shape == (2, 3, 32)
    for row, prompt in enumerate(prompts):
        ids = torch.tensor([encoder.encode_prompt(prompt)])
        with torch.no_grad():
            states = model(ids, output_hidden_states=True).hidden_states
        assert found.lengths[row] == ids.shape[1]
        # The first block's output; that of the last one is given after the final norm.
        first = states[1][0].numpy()
        np.testing.assert_allclose(found.layers["last"][0, row], first[-1], atol=1e-5)
        np.testing.assert_allclose(found.layers["mean"][0, row], first.mean(0), atol=1e-5)


def test_a_block_called_again_is_represented_by_its_last_call(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    encoder = Encoder(tiny_tokenizer, "raw")
    ids = torch.tensor([encoder.encode_prompt("the quick brown fox")])
    tiny_llama.model.layers = Again(tiny_llama.model.layers)
    tiny_llama.model.layers.order = (0, 1, 0, 1, 1)
    calls: list[np.ndarray] = []
    for block in tiny_llama.model.layers:
        block.register_forward_hook(lambda _, __, out: calls.append(out[0, -1].detach().numpy()))
    tiny_llama(ids, use_cache=False)
    last = [calls[2], calls[4]]
    found = representations(tiny_llama, encoder, ["the quick brown fox"]).layers["last"]
    np.testing.assert_allclose(found[:, 0], np.stack(last), atol=1e-6)
    tiny_llama.model.layers.order = (1,)
    with pytest.raises(ModelError, match="does not call its decoder block 0"):
        representations(tiny_llama, encoder, ["the quick brown fox"])


def test_pairings() -> None:
    assert pair_indices([9, 1, 5], [2, 3], "order") == [(0, 0), (1, 1)]
    assert pair_indices([9, 1, 5], [2, 7, 3], "length") == [(1, 0), (2, 2), (0, 1)]
    # The longer list keeps its shortest and its longest.
    assert pair_indices([9, 1, 5], [7, 2], "length") == [(1, 1), (0, 0)]
    drawn = pair_indices([1] * 20, [1] * 30, "seeded", seed=1)
    assert drawn != pair_indices([1] * 20, [1] * 30, "seeded", seed=2)
    assert drawn == pair_indices([1] * 20, [1] * 30, "seeded", seed=1)
    assert len({a for a, _ in drawn}) == len({b for _, b in drawn}) == 20
    assert len(pair_indices([1] * 20, [1] * 30, "length", most=7)) == 7


def test_rows_hold_what_the_estimators_say() -> None:
    first, second = some(8, 0), some(10, 1)
    rows = dependence_rows(first, second, permutations=19, seed=3)
    assert [row.name for row in rows] == [
        f"dependence/{measure}/last/layer_{layer}"
        for measure in ("hsic", "nhsic", "cka")
        for layer in (0, 1)
    ]
    x, y = first.layers["last"][1], second.layers["last"][1][:8]
    grams = hsic.gaussian_gram(x), hsic.gaussian_gram(y)
    values = {row.name: row.value for row in rows}
    assert values["dependence/hsic/last/layer_1"] == pytest.approx(hsic.hsic(*grams))
    assert values["dependence/nhsic/last/layer_1"] == pytest.approx(hsic.alignment(*grams))
    linear = hsic.alignment(hsic.linear_gram(x), hsic.linear_gram(y))
    assert values["dependence/cka/last/layer_1"] == pytest.approx(linear)
    assert {len(row.null) for row in rows} == {19}
    biased = dependence_rows(first, second, permutations=2, estimator="biased")
    assert biased[1].value == pytest.approx(hsic.hsic(*grams, "biased"))
    metric = Dependence().metrics(Evidence(items={"dependence": rows}))[0]
    assert (metric.total, metric.better, metric.low) == (8, "none", None)
    assert f"p = {rows[0].p:.3g} over 19 other pairings" in metric.note


def test_a_real_dependence_is_found_and_its_loss_too() -> None:
    first = some(30, 0, layers=1)
    noisy = first.layers["last"] + 0.3 * some(30, 1, layers=1).layers["last"]
    coupled = Representations({"last": noisy}, first.lengths)
    apart = some(30, 2, layers=1)
    before = dependence_rows(first, coupled)
    after = dependence_rows(first, apart)
    assert all(row.p == 1 / 200 for row in before)
    assert all(row.p > 0.05 for row in after)
    change = dependence_change(before[0], after[0])
    assert change.difference == after[0].value - before[0].value < 0
    assert change.p == 1 / 200
    none = dependence_change(before[0], before[0])
    assert (none.difference, none.p) == (0, 1.0)
    other = before[0].model_copy(update={"pairs_sha256": "another"})
    assert dependence_change(other, after[0]).p is None


def test_bad_options() -> None:
    with pytest.raises(SettingsError, match="pairing «likes» is unknown"):
        dependence_rows(some(8, 0), some(8, 1), pairing="likes")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="at least 6 prompts"):
        dependence_rows(some(8, 0), some(3, 1))


def prompts(dimension: str, count: int = 6) -> PromptSet:
    items = tuple(PromptItem(str(n), f"{dimension} number {n * 7}?") for n in range(count))
    return PromptSet(dimension, dimension, "awareness", items, "made")


def test_two_dimensions_are_needed() -> None:
    with pytest.raises(DataError, match=r"two dimensions; the suite made has fairness\."):
        paired_prompts(Suite("made", (prompts("fairness"),)))
    sets = (prompts("age"), prompts("privacy"), prompts("fairness"))
    assert list(paired_prompts(Suite("made", sets))) == ["fairness", "privacy"]
    assert list(paired_prompts(Suite("made", sets[:2]))) == ["age", "privacy"]
    with pytest.raises(DataError, match="at least 6 prompts"):
        paired_prompts(Suite("made", (prompts("fairness"), prompts("privacy", 2))))


def test_evaluated_and_compared(
    llama: PreTrainedModel,
    gpt2: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    suite = Suite("made", (prompts("fairness"), prompts("privacy")))
    for name, model in (("a", llama), ("b", gpt2)):
        evaluate(
            model, tokenizer, suite, out=tmp_path / name, max_new_tokens=2, dependence="length"
        )
    rows = read_items(tmp_path / "a" / "dependence.jsonl", DependenceItem)
    assert len(rows) == 3 * 2 * 2
    assert {row.pairing for row in rows} == {"length"}
    comparison = compare(tmp_path / "a", tmp_path / "b")
    row = comparison.row("dependence/cka/mean/layer_1")
    assert row.test == "permutation of the pairing"
    assert row.n_pairs == 6
    assert row.p is not None
    assert 0 < row.p <= 1
