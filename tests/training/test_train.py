"""Whole trainings: what is seen, what is written, and what is judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

import declutch
from declutch.data.encoding import Encoder
from declutch.data.loading import load_examples
from declutch.errors import DataError, FileFormatError, ModelError, SettingsError
from declutch.models.forward import collate, token_losses
from declutch.models.loading import load_model
from declutch.training.adapters import with_adapter
from declutch.training.train import train
from declutch.training.trainer import labelled
from tests.conftest import build_model, build_tokenizer
from tests.training.conftest import Train, killed_at, same_weights


def test_the_loss_counts_the_tokens_that_scoring_counts() -> None:
    """Token by token, and the loss that a model of transformers makes of them is scoring's."""
    model, tokenizer = build_model("llama", max_position_embeddings=512), build_tokenizer()
    encoder = Encoder(tokenizer)
    examples = [encoder.encode(one) for one in load_examples("bundled:privacy").examples[:5]]
    batch = labelled(examples)
    for ids, labels, one in zip(batch["input_ids"], batch["labels"], examples, strict=True):
        padding = len(ids) - len(one)
        assert ids[: len(one)].tolist() == list(one.input_ids)
        assert (labels != -100).tolist() == [*one.loss_mask, *[False] * padding]
        assert labels[labels != -100].tolist() == ids[labels != -100].tolist()
    with torch.no_grad():
        losses = token_losses(model, collate(examples))
        assert float(model(**batch).loss) == pytest.approx(float(losses.mean()), rel=1e-6)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_peft_and_plain_autograd_give_the_same_losses(
    trained: Train, model_folder: Path, data: dict[str, str], method: str
) -> None:
    """PEFT's own set-up, and steps of AdamW by hand, without Trainer."""
    import peft

    found = trained(method=method, warmup=0.0, batch_size=8, epochs=4, weight_decay=0.1, rank=4)
    loaded = load_model(model_folder)
    encoder = Encoder(loaded.tokenizer)
    examples = load_examples(data["fairness"], num_samples=8).examples
    batch = labelled([encoder.encode(one) for one in examples])
    torch.manual_seed(0)
    config: Any = peft.LoraConfig(
        r=4, lora_alpha=16, target_modules="all-linear", use_dora=method == "dora",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    adapted = peft.get_peft_model(loaded.model, config).train()
    own = [one for one in adapted.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(own, lr=1e-3, weight_decay=0.1)
    losses = []
    for step in range(4):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (4 - step) / 4
        logits = adapted(input_ids=batch["input_ids"]).logits[:, :-1]
        loss = functional.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(own, 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert [one.loss for one in found.record.steps] == pytest.approx(losses, rel=2e-6)


@pytest.mark.parametrize("method", ["full", "lora", "dora"])
def test_what_is_written_is_what_was_trained(
    trained: Train, model_folder: Path, tmp_path: Path, method: str
) -> None:
    found = trained(method=method)
    steps = found.record.steps
    assert [one.step for one in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[-1].loss < steps[0].loss
    assert not same_weights(found.loaded.model, load_model(model_folder).model)
    written = json.loads((tmp_path / "out" / "training.json").read_text())
    assert written["steps"][5]["loss"] == steps[-1].loss
    assert written["data"]["fairness"]["counted_tokens"] > 100
    if method == "full":
        assert found.record.trainable == found.record.parameters
        again = load_model(tmp_path / "out" / "model")
    else:
        assert found.record.trainable < found.record.parameters / 2
        again = with_adapter(load_model(model_folder), tmp_path / "out")
        plain = with_adapter(load_model(model_folder), tmp_path / "out" / "adapter")
        assert same_weights(plain.model, again.model)
        assert again.info.fingerprint != load_model(model_folder).info.fingerprint
    assert same_weights(found.loaded.model, again.model)
    assert found.loaded.info.fingerprint == again.info.fingerprint
    # The same call trains nothing more.
    assert same_weights(trained(method=method).loaded.model, again.model)
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_a_merged_checkpoint_is_the_adapted_model(trained: Train, tmp_path: Path) -> None:
    found = trained(method="lora", merge=True)
    assert same_weights(load_model(tmp_path / "out" / "model").model, found.loaded.model)


def test_it_can_be_judged_and_compared(trained: Train, model_folder: Path, tmp_path: Path) -> None:
    def judged(loaded: declutch.LoadedModel, name: str) -> None:
        declutch.evaluate(
            loaded.model, loaded.tokenizer, "bundled", limit=2, max_new_tokens=4,
            out=tmp_path / name, model_info=loaded.info,
        )  # fmt: skip

    judged(load_model(model_folder), "before")
    judged(trained(learning_rate=0.05).loaded, "after")
    comparison = declutch.compare(tmp_path / "before", tmp_path / "after")
    (margin,) = [row for row in comparison.rows if row.name == "margin/fairness"]
    assert margin.difference != 0


@pytest.mark.parametrize("method", ["full", "lora", "dora"])
def test_a_killed_training_goes_on_as_if_it_had_not_been(
    trained: Train, tmp_path: Path, method: str
) -> None:
    """The same bits: data order, dropout, the optimizer's state and the learning rate."""
    options = {"method": method, "weight_decay": 0.1, "save_steps": 1, "accumulation": 1}
    if method != "full":
        options["dropout"] = 0.3
    whole = trained("whole", **options)
    with killed_at(4):
        trained(**options)
    (kept,) = (tmp_path / "out" / "checkpoints").iterdir()
    assert kept.name == "checkpoint-3"
    # A checkpoint that was being written is passed over.
    (kept.parent / "checkpoint-4").mkdir()
    (kept.parent / "checkpoint-4" / "trainer_state.json").write_text('{"epoch":')
    with pytest.raises(SettingsError, match=r"weight_decay was 0\.1 and is now 0\.2"):
        trained(**{**options, "weight_decay": 0.2})
    gone_on = trained(**options)
    assert same_weights(gone_on.loaded.model, whole.loaded.model)
    assert [one.loss for one in gone_on.record.steps] == [one.loss for one in whole.record.steps]


def test_experts_go_on_too(tmp_path: Path, data: dict[str, str]) -> None:
    """They are stored one by one and held as a stack."""
    build_model("mixtral", max_position_embeddings=512).save_pretrained(tmp_path / "model")
    build_tokenizer().save_pretrained(tmp_path / "model")

    def run(out: str) -> declutch.Trained:
        return train(
            tmp_path / "model", data, out=tmp_path / out,
            method="full", num_samples=6, batch_size=2, epochs=1, save_steps=1, learning_rate=1e-3,
        )  # fmt: skip

    with killed_at(2):
        run("out")
    assert same_weights(run("out").loaded.model, run("whole").loaded.model)
    assert same_weights(load_model(tmp_path / "out" / "model").model, run("out").loaded.model)


def test_bad_input(trained: Train, model_folder: Path, tmp_path: Path) -> None:
    for options, said in (
        ({"method": "pruning"}, "--method «pruning» is unknown; give one of dora, full, lora"),
        ({"method": "full", "rank": 4}, "--rank does not go with --method full"),
        ({"method": "lora", "layers": (1,)}, "--layers does not go with --method lora"),
        ({"method": "full", "merge": True}, "--merge: what --method full trains is no adapter"),
        ({"sources": {}}, "Give the data of at least one dimension"),
        ({"dropout": 2.0}, "--dropout must be at most 1"),
        ({"target_modules": "nothing"}, "covers no weight matrix"),
    ):
        with pytest.raises(SettingsError, match=said):
            trained(**options)
    with pytest.raises(DataError, match=r"has \d+ different examples"):
        trained(num_samples=10_000)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(SettingsError, match="is not empty and holds no training"):
        trained("full")
    with pytest.raises(ModelError, match=r"The loss at step .* is nan: training has gone wrong"):
        trained("wild", method="full", learning_rate=1e30, epochs=9)


def test_adapters_that_do_not_fit(trained: Train, model_folder: Path, tmp_path: Path) -> None:
    trained()
    other = tmp_path / "other"
    build_model("llama", seed=1, max_position_embeddings=512).save_pretrained(other)
    build_tokenizer().save_pretrained(other)
    with pytest.raises(ModelError, match="was trained on another model"):
        with_adapter(load_model(other), tmp_path / "out")
    with pytest.raises(FileFormatError, match=r"there is no training\.json, adapter_model"):
        with_adapter(load_model(model_folder), model_folder)
    trained("full", method="full")
    with pytest.raises(FileFormatError, match="is of --method full"):
        with_adapter(load_model(model_folder), tmp_path / "full")
    weights = tmp_path / "out" / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(FileFormatError, match=r"can't be put on .*incomplete metadata"):
        with_adapter(load_model(model_folder), weights.parent)
    with pytest.raises(FileFormatError, match="is not as the training wrote it"):
        with_adapter(load_model(model_folder), tmp_path / "out")
    with pytest.raises(FileFormatError, match="is not as this training wrote it"):
        trained()
    trained("narrow", target_modules="mlp")
    config = tmp_path / "narrow" / "adapter" / "adapter_config.json"
    config.write_text(
        config.read_text().replace('"target_modules": [', '"target_modules": ["q_proj",')
    )
    with pytest.raises(FileFormatError, match="missing adapter keys"):
        with_adapter(load_model(model_folder), config.parent)
