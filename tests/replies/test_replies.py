"""The transformers engine: replies that depend on the prompt and nothing else."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from declutch.errors import DataError, OutOfMemory, SettingsError
from declutch.replies.engine import Reply, strip_reasoning
from declutch.replies.transformers_engine import TransformersEngine


def all_replies(engine: TransformersEngine, prompts: list[str]) -> list[Reply]:
    found = dict(engine.replies(prompts))
    assert sorted(found) == list(range(len(prompts)))
    return [found[index] for index in range(len(prompts))]


def by_hand(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, ids: list[int], steps: int
) -> Reply:
    """Greedy decoding one prompt at a time, without cache, padding or generate()."""
    new: list[int] = []
    for _ in range(steps):
        with torch.no_grad():
            token = int(model(torch.tensor([ids + new])).logits[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            return Reply(str(tokenizer.decode(new, skip_special_tokens=True)), "stop")
        new.append(token)
    return Reply(str(tokenizer.decode(new, skip_special_tokens=True)), "length")


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_reply_does_not_depend_on_its_batch(
    name: str,
    request: pytest.FixtureRequest,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[str],
) -> None:
    model: PreTrainedModel = request.getfixturevalue(name)
    results = [
        all_replies(
            TransformersEngine(
                model, tokenizer, prompt_format="raw", batch_size=size, max_new_tokens=8
            ),
            prompts,
        )
        for size in (1, 7, 32)
    ]
    assert results[0] == results[1] == results[2]
    assert len({reply.text for reply in results[0]}) > 10
    for index in (0, 3, 11):
        ids = tokenizer(prompts[index])["input_ids"]
        assert results[0][index] == by_hand(model, tokenizer, ids, 8)


def test_chat_prompts_go_through_the_template(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    engine = TransformersEngine(llama, tokenizer, max_new_tokens=6)
    assert engine.settings["prompt_format"] == "chat"
    text = "<s><|user|>\nWho lives?</s>\n<|assistant|>\n"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert all_replies(engine, ["Who lives?"]) == [by_hand(llama, tokenizer, ids, 6)]


def test_stop_and_length(llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    model = copy.deepcopy(llama)
    engine = TransformersEngine(model, tokenizer, prompt_format="raw", max_new_tokens=5)
    (free,) = all_replies(engine, ["Are tall people"])
    assert free.finish == "length"
    ids = tokenizer("Are tall people")["input_ids"]
    third = model.generate(  # type: ignore[operator]
        torch.tensor([ids]), do_sample=False, max_new_tokens=3, eos_token_id=None, pad_token_id=2
    )[0, -1].item()
    model.generation_config.eos_token_id = [99_999, int(third)]
    engine = TransformersEngine(model, tokenizer, prompt_format="raw", max_new_tokens=5)
    (stopped,) = all_replies(engine, ["Are tall people"])
    assert stopped.finish == "stop"
    assert free.text.startswith(stopped.text)
    assert len(stopped.text) < len(free.text)


def test_nothing_is_inherited_and_nothing_left_changed(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    plain = all_replies(
        TransformersEngine(llama, tokenizer, prompt_format="raw", max_new_tokens=20), ["a rare"]
    )
    model = copy.deepcopy(llama).train()
    model.generation_config.update(
        do_sample=True, temperature=0.3, top_p=0.5, repetition_penalty=5.0, max_length=30
    )
    before = model.generation_config.to_dict()
    bare = copy.deepcopy(tokenizer)
    bare.pad_token = None
    engine = TransformersEngine(model, bare, prompt_format="raw", max_new_tokens=20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all_replies(engine, ["a rare"]) == plain
    assert model.generation_config.to_dict() == before
    assert model.training
    assert bare.pad_token is None
    assert bare.padding_side == tokenizer.padding_side


def test_longest_prompts_come_first(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: list[str]
) -> None:
    engine = TransformersEngine(
        llama, tokenizer, prompt_format="raw", batch_size=8, max_new_tokens=1
    )
    lengths = [len(tokenizer(prompts[index])["input_ids"]) for index, _ in engine.replies(prompts)]
    assert lengths == sorted(lengths, reverse=True)


def test_batch_is_halved_when_memory_runs_out(
    llama: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = TransformersEngine(
        llama, tokenizer, prompt_format="raw", batch_size=8, max_new_tokens=2
    )
    whole = all_replies(engine, prompts[:9])
    original: Any = llama.generate
    sizes: list[int] = []

    def small_device(input_ids: torch.Tensor, **options: Any) -> Any:
        sizes.append(len(input_ids))
        if len(input_ids) > fits:
            raise torch.OutOfMemoryError("no room")
        return original(input_ids=input_ids, **options)

    monkeypatch.setattr(llama, "generate", small_device)
    fits = 2
    assert all_replies(engine, prompts[:9]) == whole
    assert sizes == [8, 4, 2, 2, 2, 2, 1]
    fits = 0
    with pytest.raises(OutOfMemory, match="one prompt"):
        all_replies(engine, prompts[:9])


def test_what_does_not_fit_is_said(
    gpt2: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    engine = TransformersEngine(gpt2, tokenizer, prompt_format="raw", max_new_tokens=64)
    with pytest.raises(DataError, match="256 positions"):
        list(engine.replies(["word " * 300]))
    with pytest.raises(SettingsError, match="--batch-size"):
        TransformersEngine(gpt2, tokenizer, batch_size=0)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Hello.", "Hello."),
        ("<think>\nHe asks, so I say no.\n</think>\n\nNo.", "No."),
        ("so I say no.</think>No.", "No."),  # the template opened it in the prompt
        ("<think>still thinking about", ""),
        ("<THINKING>a</THINKING>One <think>b</think>two", "One two"),
    ],
)
def test_strip_reasoning(text: str, shown: str) -> None:
    assert strip_reasoning(text) == shown
