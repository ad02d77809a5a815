"""LoReFT: the edit, where it is made, and that it goes on and off without a trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from declutch.data.encoding import EncodedExample
from declutch.errors import FileFormatError, ModelError, SettingsError
from declutch.models.fingerprint import fingerprint
from declutch.models.forward import collate, response_logprobs, token_losses
from declutch.models.loading import load_model
from declutch.patching import Patch
from declutch.replies.transformers_engine import Generator
from declutch.settings import TrainSettings
from declutch.training.adapters import with_adapter
from declutch.training.methods.loreft import Edit, Edits, Loreft, load_edits, remove_edits
from declutch.training.trainer import run_trainer
from tests.conftest import build_model, build_tokenizer
from tests.patching.builders import bits, make_patch, same_bits
from tests.training.conftest import Train, killed_at, same_weights


def attached(model: PreTrainedModel, **options: Any) -> tuple[PreTrainedModel, Edits]:
    """A model with random edits."""
    torch.manual_seed(0)
    edited = Loreft(**options).attach(model).eval()
    assert isinstance(edited, PreTrainedModel)
    edits = edited.loreft
    assert isinstance(edits, Edits)
    return edited, edits


def test_the_edit_is_the_papers() -> None:
    torch.manual_seed(0)
    edit = Edit(32, 3, trained=True)
    r, w, b = (edit.tensors()[name] for name in ("rotate", "weight", "bias"))
    assert torch.allclose(r @ r.T, torch.eye(3), atol=1e-6)
    hidden = torch.randn(5, 32)
    for state, made in zip(hidden, edit(hidden), strict=True):
        assert torch.allclose(made, state + r.T @ (w @ state + b - r @ state), atol=1e-6)
    # Within the subspace the state becomes what is learned, and outside it stays.
    assert torch.allclose(edit(hidden) @ r.T, edit.learned(hidden), atol=1e-5)
    outside = torch.eye(32) - r.T @ r
    assert torch.allclose(edit(hidden) @ outside, hidden @ outside, atol=1e-5)


def test_a_task_that_it_can_solve(tmp_path: Path) -> None:
    """Say one of two words after a prompt of two kinds; R stays orthonormal, and all else as is."""
    model = build_model("llama")
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(8)  # so that it can be sure of anything
    before = bits(model)
    prompts = [(1, 3, 40 + n, kind, 4) for n in range(8) for kind in (10, 11)]
    examples = [
        EncodedExample((*prompt, 20 + prompt[3] % 2 * 5), (False,) * 5 + (True,))
        for prompt in prompts
    ]
    edited, edits = attached(model, rank=4, first=2, last=2)
    assert sum(one.requires_grad for one in edited.parameters()) == 2 * 3
    settings = TrainSettings(method="loreft", epochs=60, batch_size=16, seed=1)
    steps = run_trainer(edited, examples, settings, 0.02, tmp_path / "checkpoints")
    assert steps[-1].loss < 0.05 < 1 < steps[0].loss
    edited.eval()
    with torch.no_grad():
        logits = edited(torch.tensor(prompts), attention_mask=torch.ones(16, 5)).logits[:, -1]
    assert logits.argmax(1).tolist() == [20 + kind % 2 * 5 for *_, kind, _ in prompts]
    for edit in edits.by_layer.values():
        rotate = edit.rotate.weight
        assert torch.allclose(rotate @ rotate.T, torch.eye(4), atol=1e-5)
    remove_edits(model)
    assert same_bits(model, before)


def where(edits: Edits) -> list[list[int]]:
    assert edits._where is not None
    return [row.squeeze(-1).nonzero().squeeze(-1).tolist() for row in edits._where]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_only_prompt_tokens_are_edited_however_a_pass_is_made(architecture: str) -> None:
    """Padded left or right, for a loss or for a reply; short prompts are edited once a token."""
    model, edits = attached(build_model(architecture), first=1, last=2)
    examples = [
        EncodedExample(tuple(range(10, 19)), (False,) * 6 + (True,) * 3),
        EncodedExample(tuple(range(30, 34)), (False,) * 2 + (True,) * 2),
    ]
    batch = collate(examples)
    with torch.no_grad():
        losses = token_losses(model, batch)
        assert where(edits) == [[0, 4, 5], [0, 1]]
        labels = torch.full_like(batch.input_ids, -100)
        labels[batch.rows, batch.columns + 1] = batch.targets
        loss = model(input_ids=batch.input_ids, labels=labels).loss
        assert where(edits) == [[0, 4, 5], [0, 1]]
        assert float(loss) == pytest.approx(float(losses.mean()), rel=1e-6)
    alone = [response_logprobs(model, [one])[0] for one in examples]
    assert torch.allclose(-losses, torch.cat(alone), atol=1e-5)
    # What follows a prompt is predicted alike whether it is read or generated.
    generator = Generator(model, build_tokenizer())
    prompts = [one.input_ids[: one.loss_mask.index(True)] for one in examples]
    changes = {"output_logits": True, "return_dict_in_generate": True, "eos_token_id": None}
    found = generator.run(prompts, 4, changes)
    for row, prompt in enumerate(prompts):
        said = found.sequences[row, -4:].tolist()
        one = EncodedExample((*prompt, *said), (False,) * len(prompt) + (True,) * 4)
        read = response_logprobs(model, [one])[0]
        generated = torch.stack([step[row].log_softmax(-1) for step in found.logits])
        assert torch.allclose(generated[range(4), said], read, atol=1e-4)


def plain(model: nn.Module, ids: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return logits


def test_saved_loaded_and_removed(
    trained: Train, model_folder: Path, tmp_path: Path, data: dict[str, str]
) -> None:
    found = trained(method="loreft", rank=2, layers=(1,), epochs=2, learning_rate=0.01)
    ids = torch.randint(0, 300, (2, 12))
    loaded = load_model(model_folder)
    before, original, name = bits(loaded.model), plain(loaded.model, ids), fingerprint(loaded.model)
    again = with_adapter(loaded, tmp_path / "out")
    assert torch.equal(plain(again.model, ids), plain(found.loaded.model, ids))
    assert not torch.allclose(plain(again.model, ids), original)
    assert again.info.fingerprint != name
    facts = json.loads((tmp_path / "out" / "adapter" / "loreft.json").read_text())
    assert (facts["layers"], facts["rank"], facts["first"]) == ([1], 2, 5)
    # The same call is done already, and judges the same.
    twice = trained(method="loreft", rank=2, layers=(1,), epochs=2, learning_rate=0.01)
    assert same_weights(twice.loaded.model, again.model)
    remove_edits(again.model)
    assert same_bits(again.model, before)
    assert torch.equal(plain(again.model, ids), original)
    with pytest.raises(ModelError, match="carries no LoReFT"):
        remove_edits(again.model)


def test_it_goes_on_after_a_kill(trained: Train) -> None:
    options = {"method": "loreft", "dropout": 0.2, "save_steps": 2, "learning_rate": 0.01}

    with killed_at(4):
        trained(**options)
    gone_on, whole = trained(**options), trained("whole", **options)
    assert [one.loss for one in gone_on.record.steps] == [one.loss for one in whole.record.steps]
    first, second = (
        {k: v for k, v in one.loaded.model.state_dict().items() if "loreft" in k}
        for one in (gone_on, whole)
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("value", ["keep", "zero"])
def test_protected_weights_are_held(
    value: str, trained: Train, model_folder: Path, tmp_path: Path
) -> None:
    loaded = load_model(model_folder)
    patch: Patch = make_patch(loaded.model)
    trained(method="loreft", protect=patch, protect_value=value)
    again = with_adapter(loaded, tmp_path / "out")
    remove_edits(again.model)
    assert patch.verify(again.model) == ("original" if value == "keep" else "patched")


def test_what_does_not_say_where_the_prompt_ends() -> None:
    model, _ = attached(build_model("llama"))
    with pytest.raises(ModelError, match="Leave --capability out"):
        model(input_ids=torch.ones(1, 4, dtype=torch.long))


def test_bad_input(trained: Train, model_folder: Path, tmp_path: Path) -> None:
    for options, said in (
        ({"layers": (2,)}, "--layers 2: the model's 2 decoder blocks are 0 to 1"),
        ({"rank": 32}, "--rank 32: the model holds 32 numbers a token"),
        ({"first": 0, "last": 0}, "--first and --last are 0"),
        ({"merge": True}, "changes activations, not weights"),
        ({"alpha": 3.0}, "--alpha does not go with --method loreft"),
    ):
        with pytest.raises(SettingsError, match=said):
            trained(f"out{len(said)}", method="loreft", **options)
    trained(method="loreft", epochs=1)
    folder = tmp_path / "out" / "adapter"
    other = build_model("llama", hidden_size=48)
    with pytest.raises(FileFormatError, match="can't be put on the model"):
        load_edits(other, folder)
    (folder / "loreft.safetensors").write_bytes(b"cut")
    with pytest.raises(FileFormatError, match="can't be put on the model"):
        load_edits(load_model(model_folder).model, folder)
