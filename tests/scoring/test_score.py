"""The whole of scoring on a tiny model: from examples and files to a folder of shortlists."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from declutch.data.encoding import Encoder
from declutch.data.example import Example
from declutch.data.names import CONTROL
from declutch.errors import DataError, FileFormatError, SettingsError
from declutch.locating import locate
from declutch.models.matrices import find_matrices
from declutch.scoring.score import score
from declutch.scoring.shortlists import Scores
from tests.conftest import CHAT_TEMPLATE, build_tokenizer
from tests.scoring.test_importance import brute_force

WORDS = ["the", "quick", "brown", "fox", "tells", "a", "secret", "to", "lazy", "dog"]


def make_pairs(count: int, start: int = 0) -> list[Example]:
    return [
        Example(
            prompt=" ".join(WORDS[(start + n + k) % len(WORDS)] for k in range(2 + n % 3)),
            response=" ".join(WORDS[(start + 3 * n + k) % len(WORDS)] for k in range(2 + n % 4)),
            id=f"{start}-{n}",
            bad_response=" ".join(WORDS[(start + 5 * n + k) % len(WORDS)] for k in range(3)),
        )
        for n in range(count)
    ]


DATA = {"fairness": make_pairs(6), "privacy": make_pairs(5, 3), "general": make_pairs(4, 7)}


def as_matrices(scores: Scores, name: str) -> dict[str, Tensor]:
    """Whole score matrices, of shortlists that hold everything."""
    found = {}
    for matrix, shortlist in scores.dimension(name).items():
        flat = torch.empty(len(shortlist.indices))
        flat[shortlist.indices] = shortlist.scores
        found[matrix] = flat.view(scores.info.matrices[matrix].shape)
    return found


def test_scores_of_examples_in_memory(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    scores = score(tiny_llama, tiny_tokenizer, DATA, shortlist=1.0, prompt_format="raw")
    encoder = Encoder(tiny_tokenizer, "raw")
    for name, examples in DATA.items():
        expected = brute_force(tiny_llama, [encoder.encode(one) for one in examples], "mlp")
        for matrix, actual in as_matrices(scores, name).items():
            torch.testing.assert_close(
                actual.double(), expected[matrix], rtol=2e-4, atol=1e-5 * float(actual.max())
            )
        assert scores.info.dimensions[name].examples == len(examples)
        assert scores.info.dimensions[name].source == "memory"
    weight = dict(tiny_llama.named_parameters())["model.layers.1.mlp.down_proj.weight"]
    shortlist = scores.dimension("privacy")["model.layers.1.mlp.down_proj"]
    assert torch.equal(shortlist.weights, weight.detach().flatten()[shortlist.indices])


def test_shortlists_are_the_beginning_of_longer_ones(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    short = score(tiny_llama, tiny_tokenizer, {"one": DATA["fairness"]}, shortlist=0.01)
    whole = score(tiny_llama, tiny_tokenizer, {"one": DATA["fairness"]}, shortlist=1.0)
    for matrix, shortlist in short.dimension("one").items():
        assert len(shortlist.indices) == 16  # of 32 · 48
        assert torch.equal(shortlist.indices, whole.dimension("one")[matrix].indices[:16])


def test_a_file_and_memory_give_the_same(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": one.prompt, "response": one.response} for one in DATA["fairness"]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = score(
        tiny_llama, tiny_tokenizer, {"file": path, "memory": DATA["fairness"]}, num_samples=6
    )
    for matrix, shortlist in scores.dimension("file").items():
        other = scores.dimension("memory")[matrix]
        assert set(shortlist.indices.tolist()) == set(other.indices.tolist())
    assert scores.info.dimensions["file"].source == str(path)


def test_finished_dimensions_are_not_scored_again(
    tiny_llama: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "scores"
    score(tiny_llama, tiny_tokenizer, {"fairness": DATA["fairness"]}, out=out)
    scored = []
    original = score.__globals__["score_dimension"]

    def watched(job, team, partial):  # type: ignore[no-untyped-def]
        scored.append(job.name)
        return original(job, team, partial)

    monkeypatch.setitem(score.__globals__, "score_dimension", watched)
    both = score(tiny_llama, tiny_tokenizer, DATA, out=out)
    assert scored == ["privacy", "general"]
    assert both.dimensions == ("fairness", "privacy", "general")
    assert not (out / "partial").exists()
    loaded = Scores.load(out)
    fresh = score(tiny_llama, tiny_tokenizer, DATA)
    for name in (*DATA, CONTROL):
        for matrix, shortlist in loaded.shortlists[name].items():
            assert torch.equal(shortlist.indices, fresh.shortlists[name][matrix].indices)
            assert torch.equal(shortlist.scores, fresh.shortlists[name][matrix].scores)


def test_allowing_fewer_does_not_make_other_scores(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    one = {"fairness": DATA["fairness"]}
    first = score(tiny_llama, tiny_tokenizer, one, out=tmp_path)
    second = score(tiny_llama, tiny_tokenizer, one, out=tmp_path, allow_fewer=True)
    assert second.info == first.info


def test_changed_settings_are_refused_by_name(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    one = {"fairness": DATA["fairness"]}
    score(tiny_llama, tiny_tokenizer, one, out=tmp_path, max_length=64)
    with pytest.raises(SettingsError, match="max_length was 64 and is now 128"):
        score(tiny_llama, tiny_tokenizer, one, out=tmp_path, max_length=128)
    with pytest.raises(SettingsError, match="data of fairness was"):
        score(
            tiny_llama, tiny_tokenizer, {"fairness": DATA["general"]}, out=tmp_path, max_length=64
        )
    with pytest.raises(SettingsError, match="statistic of fairness was 'abs' and is now 'sig"):
        score(tiny_llama, tiny_tokenizer, one, out=tmp_path, max_length=64, statistic="signed")
    with pytest.raises(SettingsError, match="dtype was 'float32' and is now 'bfloat16'"):
        score(tiny_llama.bfloat16(), tiny_tokenizer, one, out=tmp_path, max_length=64)
    with torch.no_grad():
        next(tiny_llama.parameters()).mul_(2)
    with pytest.raises(SettingsError, match="model was"):
        score(tiny_llama, tiny_tokenizer, one, out=tmp_path, max_length=64)


def test_examples_lost_when_encoded_count_as_missing(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [("Who?", "The dog."), ("What?", "fox " * 90), ("the " * 90, "It."), ("a " * 90, "It.")]
    path.write_text("".join(json.dumps({"prompt": p, "response": r}) + "\n" for p, r in rows))
    options: dict[str, Any] = {"num_samples": 4, "max_length": 64}
    with pytest.raises(DataError, match=r"one: 2 of 4 examples can't be encoded: .*--allow-fewer"):
        score(tiny_llama, tiny_tokenizer, {"one": path}, **options)
    scores = score(tiny_llama, tiny_tokenizer, {"one": path}, allow_fewer=True, **options)
    facts = scores.info.dimensions["one"]
    assert (facts.examples, facts.left_out, facts.truncated) == (2, 2, 1)
    assert "2 of these 4 can't be encoded and were left out" in facts.report[1]
    assert facts.report[1].endswith(": 2 used.")


def test_other_tokens_of_the_same_data_are_refused(
    tiny_llama: PreTrainedModel, tmp_path: Path
) -> None:
    data = {"one": DATA["fairness"]}
    found = score(tiny_llama, build_tokenizer(), data, out=tmp_path)
    assert found.info.dimensions["one"].tokens_sha256
    other = build_tokenizer(CHAT_TEMPLATE.replace("<|{{ m.role }}|>", "<|{{ m.role }}|>the "))
    with pytest.raises(SettingsError, match="tokens of one was"):
        score(tiny_llama, other, data, out=tmp_path)


def test_a_template_that_writes_the_date_gives_the_same_tokens_every_day(
    tiny_llama: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = build_tokenizer("Today: {{ strftime_now('%d %b %Y') }}\n" + CHAT_TEMPLATE)
    data = {"one": DATA["fairness"]}
    score(tiny_llama, tokenizer, data, out=tmp_path)

    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Self:
            return cls(2031, 5, 17, tzinfo=tz)

    monkeypatch.setattr(chat_template_utils, "datetime", Tomorrow)
    text = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    assert "17 May 2031" in str(text)
    scores = score(tiny_llama, tokenizer, {**data, "two": DATA["privacy"]}, out=tmp_path)
    assert scores.info.settings["template_date"] == "2026-01-01"
    assert "template_date" not in score(tiny_llama, build_tokenizer(), data).info.settings


def test_damaged_shortlists_are_named(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    score(tiny_llama, tiny_tokenizer, {"one": DATA["fairness"]}, out=tmp_path)
    path = tmp_path / "shortlists.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileFormatError, match=r"shortlists\.safetensors is damaged"):
        score(tiny_llama, tiny_tokenizer, {"one": DATA["fairness"]}, out=tmp_path)


def test_the_control_pool_follows_the_seed(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    def pool(seed: int) -> Tensor:
        scores = score(
            tiny_llama, tiny_tokenizer, {"one": DATA["fairness"]}, seed=seed, shortlist=0.05
        )
        return torch.stack([one.indices for one in scores.shortlists[CONTROL].values()])

    assert torch.equal(pool(0), pool(0))
    assert not torch.equal(pool(0), pool(1))
    first, second = pool(0)[:2]
    assert not torch.equal(first, second)  # matrices of one shape get positions of their own
    assert len(first.unique()) == len(first)


def test_the_model_is_left_as_it_was(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    tiny_llama.train()
    frozen = next(tiny_llama.parameters()).requires_grad_(False)
    other = list(tiny_llama.parameters())[1]
    other.grad = torch.ones_like(other)
    before = {name: value.clone() for name, value in tiny_llama.state_dict().items()}
    score(tiny_llama, tiny_tokenizer, {"one": DATA["fairness"]})
    assert tiny_llama.training
    assert not frozen.requires_grad
    assert other.requires_grad
    assert other.grad is not None
    assert bool((other.grad == 1).all())
    assert not any(module._forward_hooks for module in tiny_llama.modules())
    for name, value in tiny_llama.state_dict().items():
        assert torch.equal(value, before[name])


# --- good against bad responses -------------------------------------------------------------


def test_contrast_is_the_mean_over_pairs_of_the_difference(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    pairs = DATA["fairness"]
    scores = score(
        tiny_llama, tiny_tokenizer, {"fairness": pairs, "general": DATA["general"]},
        shortlist=1.0, contrast=("fairness",), no_harmless=True,
    )  # fmt: skip
    encoder = Encoder(tiny_tokenizer)
    good = brute_force(tiny_llama, [encoder.encode(one) for one in pairs], "mlp", "signed")
    bad = brute_force(
        tiny_llama,
        [encoder.encode(replace(one, response=one.bad_response or "")) for one in pairs],
        "mlp",
        "signed",
    )
    for matrix, actual in as_matrices(scores, "fairness:contrast").items():
        expected = good[matrix] - bad[matrix]
        torch.testing.assert_close(
            actual.double(), expected, rtol=2e-4, atol=1e-4 * float(expected.abs().max())
        )
    contrast = scores.info.dimensions["fairness:contrast"]
    assert (contrast.statistic, contrast.examples) == ("contrast", len(pairs))
    # In absolute value it is scored as if it were not contrasted.
    assert scores.dimensions == ("fairness", "general", "fairness:contrast")
    plain = score(tiny_llama, tiny_tokenizer, {"fairness": pairs}, shortlist=1.0)
    assert scores.info.dimensions["fairness"].statistic == "abs"
    for matrix, expected in as_matrices(plain, "fairness").items():
        assert torch.equal(as_matrices(scores, "fairness")[matrix], expected)
    assert all(bool((one.scores >= 0).all()) for one in scores.dimension("general").values())


def test_zeroing_a_neuron_of_high_contrast_favours_the_good_responses(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    from declutch.models.forward import collate, example_losses

    pairs = DATA["privacy"]
    scores = score(
        tiny_llama, tiny_tokenizer, {"privacy": pairs}, contrast=("privacy",), no_harmless=True
    )
    encoder = Encoder(tiny_tokenizer)

    @torch.no_grad()
    def advantage() -> float:
        good = collate([encoder.encode(one) for one in pairs])
        bad = collate([encoder.encode(replace(o, response=o.bad_response or "")) for o in pairs])
        difference = example_losses(tiny_llama, bad) - example_losses(tiny_llama, good)
        return float(difference.mean())

    before = advantage()
    parameters = dict(tiny_llama.named_parameters())
    for matrix in find_matrices(tiny_llama, "mlp").matrices:
        shortlist = scores.dimension("privacy:contrast")[matrix.name]
        weight = parameters[matrix.parameter].detach().view(-1)
        # A hundredth of the way to zero, where first order holds.
        weight[shortlist.indices[0]] *= 0.99
        assert advantage() - before == pytest.approx(0.01 * float(shortlist.scores[0]), rel=0.2)
        weight[shortlist.indices[0]] = shortlist.weights[0]


def test_a_pair_is_used_whole_or_not_at_all(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    pairs = [*DATA["fairness"], Example("fox " * 90, "dog", "long", "fox")]
    scores = score(
        tiny_llama, tiny_tokenizer, {"fairness": pairs}, contrast=("fairness",),
        no_harmless=True, max_length=64, allow_fewer=True,
    )  # fmt: skip
    for name in scores.dimensions:
        assert scores.info.dimensions[name].examples == len(DATA["fairness"])
        assert scores.info.dimensions[name].left_out == 1
    with pytest.raises(DataError, match=r"1 of 7 .*can't be encoded: long\..*--allow-fewer"):
        score(
            tiny_llama,
            tiny_tokenizer,
            {"fairness": pairs},
            contrast=("fairness",),
            no_harmless=True,
            max_length=64,
        )


def test_contrast_without_bad_responses_is_refused(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    pairs = [*DATA["fairness"], Example("fox", "dog", "single")]
    with pytest.raises(DataError, match=r"1 of 7 examples have none \(first single\)"):
        score(
            tiny_llama,
            tiny_tokenizer,
            {"fairness": pairs},
            contrast=("fairness",),
            no_harmless=True,
        )
    with pytest.raises(SettingsError, match="--contrast privacy is not among the dimensions"):
        score(
            tiny_llama, tiny_tokenizer, {"fairness": pairs}, contrast=("privacy",), no_harmless=True
        )


def test_the_contrast_rule_takes_what_is_positive_everywhere_and_not_excluded(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    scores = score(
        tiny_llama,
        tiny_tokenizer,
        DATA,
        shortlist=1.0,
        contrast=("fairness", "privacy"),
        no_harmless=True,
    )
    patch = locate(scores, ["fairness", "privacy"], ["general"], ratio=0.2, rule="contrast")
    assert len(patch)
    kinds = ("fairness:contrast", "privacy:contrast", "general")
    fairness, privacy, general = (as_matrices(scores, name) for name in kinds)
    for matrix, indices in patch.indices.items():
        k = int(0.2 * fairness[matrix].numel())
        tops = [set(one[matrix].flatten().topk(k).indices.tolist()) for one in (fairness, privacy)]
        excluded = set(general[matrix].flatten().topk(k).indices.tolist())
        assert set(indices.tolist()) == (tops[0] & tops[1]) - excluded
    # With a ratio of 1 only the sign is left to choose by.
    patch = locate(scores, ["fairness", "privacy"], ratio=1, rule="contrast")
    positive = sum(int(((fairness[name] > 0) & (privacy[name] > 0)).sum()) for name in fairness)
    assert len(patch) == positive


def test_the_contrast_rule_needs_contrasted_dimensions(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    scores = score(tiny_llama, tiny_tokenizer, DATA, contrast=("fairness",), no_harmless=True)
    with pytest.raises(SettingsError, match="needs privacy scored by «contrast»"):
        locate(scores, ["fairness", "privacy"], ratio=1e-3, rule="contrast")
