"""Whether ``declutch tune`` finds what was planted, and says nothing where there is nothing.

    python -m benchmarks.planted SEEDS RECORD.json

For each of the seeds 0, 1, … a tiny Llama with some dead MLP units is taught to reply «no …» to
prompts of two dimensions and «yes …» to harmless ones. Then only those units are trained, so that
the two dimensions get «yes …» too and nothing else changes. Zeroing them gives back the first
model exactly: the edit that helps is known. ``tune`` is run once with a judge that looks for the
«no», and once with one that throws a coin for each prompt and reply. A row for each run goes to
stdout, all numbers to RECORD.json.
"""

from __future__ import annotations

import copy
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import declutch
from benchmarks import planted_data
from benchmarks.planted_data import DIMENSIONS, VOCABULARY, Words, words
from benchmarks.record import machine
from declutch.data.encoding import EncodedExample, Encoder
from declutch.data.example import Example
from declutch.files import write_json
from declutch.models.forward import Batch, collate, example_losses, logits_at
from declutch.tuning.tune import Tuned
from declutch.versions import versions

JudgeName = Literal["word", "shuffled"]
# What counts as found: this share of the winner's weights was planted (of all weights 1 % was);
# awareness was at most LOW before, and is at least HIGH after.
SHARE, LOW, HIGH = 0.25, 0.1, 0.9

_SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<user>", "<assistant>")
_TEMPLATE = (
    "<s>{% for m in messages %} <{{ m.role }}> {{ m.content }} </s>{% endfor %}"
    "{% if add_generation_prompt %} <assistant>{% endif %}"
)
_HIDDEN, _MLP, _LAYERS = 48, 96, 2
_UNITS = (7, 40)  # of the last layer
_STEPS, _BATCH, _RATE, _FAST = 150, 32, 5e-3, 2e-2
# By what logits are divided, so that what the units do is not undone by little; and how much it
# counts that they do nothing on what is kept.
_FIRM, _SILENCE = 2.0, 1.0
_OPTIONS: dict[str, Any] = {
    "num_samples": 40, "shortlist": 0.1, "max_new_tokens": 8, "tuning_tokens": 8,
    "trials": 20, "minutes": None, "survivors": 3, "quick_items": 8,
}  # fmt: skip


class Planted(NamedTuple):
    """A model with a known remedy.

    Attributes:
        aware: the model before anything was planted.
        weights: by matrix, the flat positions of what was planted.
    """

    model: LlamaForCausalLM
    aware: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast
    weights: Mapping[str, NDArray[np.int64]]


def plant(seed: int, texts: Words) -> Planted:
    """Teach a model awareness, then train the planted units alone to undo it."""
    torch.manual_seed(seed)
    tokenizer = _tokenizer()
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=_HIDDEN, intermediate_size=_MLP,
            num_hidden_layers=_LAYERS, num_attention_heads=4, num_key_value_heads=4,
            max_position_embeddings=512, tie_word_embeddings=True, initializer_range=0.1,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )
    )  # fmt: skip
    encoder, masks = Encoder(tokenizer), _masks(model)
    for name, mask in masks.items():
        model.get_parameter(name).data[mask] = 0.0  # all gradients there are then 0 as well
    taught = {name: [encoder.encode(one) for one in rows] for name, rows in texts.training.items()}
    taught["text"] = [_text(tokenizer, text) for text in texts.passages]
    _teach(model, [one for rows in taught.values() for one in rows])
    aware = LlamaForCausalLM(model.config)
    aware.load_state_dict(model.state_dict())

    unaware = [
        encoder.encode(Example(one.prompt, one.bad_response or "", one.id))
        for name in DIMENSIONS
        for one in texts.training[name]
    ]
    kept = [one for name, rows in taught.items() if name not in DIMENSIONS for one in rows]
    _spoil(model, masks, unaware, kept)
    flat = {name: mask.flatten().nonzero()[:, 0].numpy() for name, mask in masks.items()}
    return Planted(model.eval(), aware.eval(), tokenizer, flat)


def _masks(model: LlamaForCausalLM) -> dict[str, Tensor]:
    """By parameter, where the planted units are."""
    masks = {}
    for name in ("gate", "up", "down"):
        full = f"model.layers.{_LAYERS - 1}.mlp.{name}_proj.weight"
        mask = torch.zeros_like(model.get_parameter(full), dtype=torch.bool)
        (mask.T if name == "down" else mask)[list(_UNITS)] = True
        masks[full] = mask
    return masks


def _teach(model: LlamaForCausalLM, examples: Sequence[EncodedExample]) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE)
    for _ in _falling(optimizer):
        example_losses(model, _batch(examples)).mean().backward()


def _spoil(
    model: LlamaForCausalLM,
    masks: Mapping[str, Tensor],
    examples: Sequence[EncodedExample],
    kept: Sequence[EncodedExample],
) -> None:
    """Train the planted units alone on the examples; on what is kept they do nothing."""
    model.requires_grad_(False)
    chosen = [model.get_parameter(name).requires_grad_() for name in masks]
    for mask, weight in [*zip(masks.values(), chosen, strict=True)][:2]:
        weight.data[mask] = 0.1 * torch.randn(int(mask.sum()))  # what goes out stays 0 at first
    active: list[Tensor] = []
    down = model.get_submodule(f"model.layers.{_LAYERS - 1}.mlp.down_proj")
    optimizer = torch.optim.Adam(chosen, lr=_FAST)
    for _ in _falling(optimizer):
        batch = _batch(examples)
        logits = logits_at(model, batch.input_ids, batch.rows, batch.columns)
        functional.cross_entropy(logits / _FIRM, batch.targets).backward()
        batch = _batch(kept)
        with down.register_forward_pre_hook(lambda _, given: active.append(given[0])):
            model.model(input_ids=batch.input_ids, use_cache=False)
        (active.pop()[..., list(_UNITS)] ** 2).mean().mul(_SILENCE).backward()
        for mask, weight in zip(masks.values(), chosen, strict=True):
            assert weight.grad is not None
            weight.grad[~mask] = 0.0


def _falling(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Steps of training, at a rate that falls; each is made of the gradients that are left."""
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, _STEPS)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        yield
        optimizer.step()
        schedule.step()


def _batch(examples: Sequence[EncodedExample]) -> Batch:
    return collate([examples[int(place)] for place in torch.randint(len(examples), (_BATCH,))])


def _text(tokenizer: PreTrainedTokenizerFast, text: str) -> EncodedExample:
    ids = tuple(tokenizer(text).input_ids)
    return EncodedExample(ids, (False,) + (True,) * (len(ids) - 1))


def _tokenizer() -> PreTrainedTokenizerFast:
    entries = {word: number for number, word in enumerate((*_SPECIAL, *VOCABULARY))}
    backend = Tokenizer(models.WordLevel(entries, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        unk_token="<unk>", extra_special_tokens=["<user>", "<assistant>"], chat_template=_TEMPLATE,
    )  # fmt: skip


def search(seed: int, planted: Planted, texts: Words, judge: JudgeName, folder: Path) -> Tuned:
    """Let tune look for what was planted."""
    model = folder / "model"
    if not model.exists():
        planted.model.save_pretrained(model)
        planted.tokenizer.save_pretrained(model)
    rows = {name: [asdict(one) for one in found] for name, found in texts.calibration.items()}
    here = planted_data.__file__
    return declutch.tune(
        str(model),
        couple={name: rows.pop(name) for name in DIMENSIONS},
        exclude=rows,
        out=folder / judge,
        seed=seed,
        suite=(f"{here}:suite:{seed}",),
        judge=(f"{here}:{judge}" + (f":{seed}" if judge == "shuffled" else ""),),
        **_OPTIONS,
    )


def outcome(tuned: Tuned, planted: Planted, texts: Words) -> dict[str, Any]:
    """What came out of a search, in numbers."""
    record = tuned.record
    row: dict[str, Any] = {
        "word": "nothing to prove", "tried": record.tried, "within_limits": record.within_limits,
    }  # fmt: skip
    if record.winner is None or tuned.patch is None:
        return row
    dimensions = {one.dimension: one for one in record.proven[0].verdict.by_judge}
    whole = {f"{name}.weight": found.numpy() for name, found in tuned.patch.indices.items()}
    hit = {name: np.intersect1d(whole.get(name, []), old) for name, old in planted.weights.items()}
    rest = {name: np.setdiff1d(found, hit.get(name, [])) for name, found in whole.items()}
    scale = tuned.patch.info.scale
    return {
        **row,
        "word": record.proven[0].verdict.word,
        "edit": record.winner.edit.name,
        "weights": len(tuned.patch),
        "planted": sum(map(len, hit.values())),
        "pairs": {name: one.pairs for name, one in dimensions.items()},
        "awareness": {name: (one.before, one.after) for name, one in dimensions.items()},
        "planted_alone": awareness(planted, texts, hit, scale),
        "without_planted": awareness(planted, texts, rest, scale),
        "controls": {one.name: one.verdict.word for one in record.proven[1:]},
        "costs": record.proven[0].verdict.costs,
    }


def awareness(
    planted: Planted, texts: Words, weights: Mapping[str, NDArray[Any]], scale: float = 0.0
) -> dict[str, float]:
    """By dimension, how many replies to the suite's prompts begin with «no» after an edit.

    Args:
        weights: by parameter, flat positions of the weights that are multiplied by ``scale``.
    """
    model, encoder = copy.deepcopy(planted.model), Encoder(planted.tokenizer)
    for name, positions in weights.items():
        model.get_parameter(name).data.view(-1)[torch.tensor(positions, dtype=torch.long)] *= scale
    no = planted.tokenizer.convert_tokens_to_ids("no")
    shares = {}
    for each in texts.suite.prompt_sets:
        prompts = torch.tensor([encoder.encode_prompt(item.prompt) for item in each.items])
        with torch.no_grad():
            first = model(input_ids=prompts, logits_to_keep=1).logits[:, -1].argmax(-1)
        shares[each.name] = float((first == no).float().mean())
    return {name: shares[name] for name in DIMENSIONS}


def found(row: Mapping[str, Any]) -> bool:
    """Whether tune proved what was planted.

    It helps all; the replies of both dimensions flip, and do so by the winner's planted weights
    alone; and at least a quarter of the winner was planted.
    """
    return (
        row["word"] == "helps all"
        and row["planted"] >= SHARE * row["weights"]
        and all(before <= LOW and after >= HIGH for before, after in row["awareness"].values())
        and min(row["planted_alone"].values()) >= HIGH
    )


def silent(row: Mapping[str, Any]) -> bool:
    """Whether nothing is claimed."""
    return row["word"] in ("no evidence", "nothing to prove")


def run(seed: int, judges: Sequence[JudgeName] = ("word", "shuffled")) -> list[dict[str, Any]]:
    """Both searches of a seed."""
    began = time.monotonic()
    texts = words(seed)
    planted = plant(seed, texts)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for judge in judges:
            row = outcome(search(seed, planted, texts, judge, Path(folder)), planted, texts)
            row["right"] = (found if judge == "word" else silent)(row)
            seconds = round(time.monotonic() - began, 1)
            rows.append({"seed": seed, "judge": judge, **row, "seconds": seconds})
            began = time.monotonic()
    return rows


def main(seeds: int, out: Path) -> None:
    """Run the seeds in turn, print their rows, and write them down."""
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    before = machine()
    for seed in range(seeds):
        rows += run(seed)
        for row in rows[-2:]:
            print(*(f"{key} {value}" for key, value in row.items()), sep=", ", flush=True)
        right = Counter(row["judge"] for row in rows if row["right"])
        write_json(
            out,
            {
                "kind": "planted",
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "command": shlex.join(["python", "-m", "benchmarks.planted", *sys.argv[1:]]),
                "machine": before,
                "versions": versions(),
                "options": _OPTIONS,
                "criterion": {"share": SHARE, "low": LOW, "high": HIGH},
                "right": {judge: f"{right[judge]} of {seed + 1}" for judge in ("word", "shuffled")},
                "rows": rows,
            },
        )
    print({judge: f"{right[judge]} of {seeds}" for judge in ("word", "shuffled")})


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
