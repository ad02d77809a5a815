"""The model and the examples that a benchmark runs on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from declutch.data.encoding import EncodedExample, Encoder, encode_all
from declutch.data.loading import load_examples
from declutch.models.loading import load_model
from declutch.models.matrices import WeightMatrix, find_matrices
from declutch.settings import Dtype, ModelSettings

# Models with random weights, by what decides their cost.
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 1000,
    },
    "qwen2-7b": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
    },
}
# Random examples are as long as those of the paper's data sets are with Qwen2's tokenizer.
SHORTEST, LONGEST = 75, 150


@dataclass(frozen=True)
class Spec:
    """What is run; goes to the worker processes as JSON.

    Attributes:
        shape: a key of :data:`SHAPES`, or None for the model named by ``model``.
        layers: how many layers the per-layer way is timed on; None for all.
        batch_tokens: padded tokens in a batch.
    """

    model: str = "demo"
    shape: str | None = None
    data: str = "bundled:privacy"
    examples: int = 32
    target: str = "mlp"
    layers: int | None = 4
    batch_tokens: int = 384
    device: str = "cpu"
    dtype: Dtype = "auto"
    threads: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Bench:
    """A model, its targeted matrices, and encoded examples."""

    spec: Spec
    model: PreTrainedModel
    matrices: tuple[WeightMatrix, ...]
    examples: tuple[EncodedExample, ...]
    blocks: int

    @property
    def tokens(self) -> int:
        """Tokens of all examples."""
        return sum(len(example) for example in self.examples)

    @property
    def accumulators(self) -> int:
        """Bytes of the float32 sums of all targeted matrices."""
        return 4 * sum(matrix.numel for matrix in self.matrices)

    @property
    def weights(self) -> int:
        """Bytes of the model, tied weights once."""
        return sum(p.numel() * p.element_size() for p in self.model.parameters())


def prepare(spec: Spec) -> Bench:
    """Load or build the model, and encode or make up the examples."""
    if spec.threads:
        torch.set_num_threads(spec.threads)
    torch.manual_seed(spec.seed)
    if spec.shape:
        model = random_model(spec.shape, spec.device, spec.dtype)
        examples = random_examples(spec.examples, model.config.vocab_size, spec.seed)
    else:
        loaded = load_model(spec.model, ModelSettings(dtype=spec.dtype, device=spec.device))
        model = loaded.model
        data = load_examples(spec.data, num_samples=spec.examples, seed=spec.seed)
        examples = encode_all(Encoder(loaded.tokenizer), data.examples).examples
    coverage = find_matrices(model, spec.target)
    return Bench(spec, model, coverage.matrices, tuple(examples), coverage.layers)


def random_model(shape: str, device: str, dtype: Dtype) -> PreTrainedModel:
    """A model of a shape, its random weights made on the device."""
    config = AutoConfig.for_model("qwen2", **SHAPES[shape])
    kind = getattr(torch, dtype) if dtype != "auto" else torch.float32
    if dtype == "auto" and device.startswith("cuda"):
        kind = torch.bfloat16
    with torch.device(device):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=kind)
    model.eval()
    return model


def random_examples(
    count: int, vocabulary: int, seed: int, lengths: Sequence[int] = ()
) -> tuple[EncodedExample, ...]:
    """Examples of random tokens, the second half of each counted; lengths at random by default."""
    generator = random.Random(seed)
    lengths = lengths or [generator.randint(SHORTEST, LONGEST) for _ in range(count)]
    examples = []
    for length in lengths:
        ids = tuple(generator.randrange(10, vocabulary) for _ in range(length))
        prompt = length // 2
        mask = (False,) * prompt + (True,) * (length - prompt)
        examples.append(EncodedExample(ids, mask))
    return tuple(examples)
