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
from tests.conftest import ARCHITECTURES, build_model, build_tokenizer
from tests.models.test_probes import cast_to
from tests.odd_models import LONGROPE, build_odd


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
    assert sizes[2:] == [8, 4, 2, 2, 2, 2, 1]  # after the try of a prompt alone and of two
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


# --- what a batch does to a reply -----------------------------------------------------


def chat_engine(model: PreTrainedModel, size: int = 8, **options: Any) -> TransformersEngine:
    return TransformersEngine(
        model, build_tokenizer(), batch_size=size, **{"max_new_tokens": 6, **options}
    )


SOME_PROMPTS = [
    " ".join(["the", "fox", "dog", "a"][(n + k) % 4] for k in range(n)) for n in range(1, 13)
]


def fresh_replies(model: PreTrainedModel, **options: Any) -> list[Reply]:
    """Each prompt with a copy of the model that has read nothing yet."""
    return [
        all_replies(chat_engine(copy.deepcopy(model), 1, **options), [prompt])[0]
        for prompt in SOME_PROMPTS
    ]


@pytest.mark.parametrize(
    ("name", "sharing"),
    [("minimax", "equal"), ("recurrent_gemma", "equal"), (LONGROPE, "equal"), ("doge", "none"),
     # Its recurrent state mixes the rows of a batch up, from the second new token on.
     ("rwkv", "none")],
)  # fmt: skip
def test_where_the_batch_tells_fewer_prompts_share_one(
    name: str, sharing: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = build_odd(name, spread=0.3)
    expected = fresh_replies(model)
    engine = chat_engine(model)
    # Twice each: batches of two at least, and what the longer ones leave behind.
    assert all_replies(engine, SOME_PROMPTS * 2) == expected * 2
    assert len({reply.text for reply in expected}) > 4
    assert engine._sharing == sharing
    said = "one prompt at a time" if sharing == "none" else "prompts of one length share a batch"
    assert said in caplog.text


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_usual_models_share_batches(architecture: str, dtype: torch.dtype) -> None:
    engine = chat_engine(cast_to(build_model(architecture), dtype))
    dict(engine.replies(SOME_PROMPTS))
    assert engine._sharing == "any"


def test_a_reply_ends_where_the_template_ends_a_turn() -> None:
    """The mark is neither the tokenizer's end token nor the generation config's."""
    tokenizer = build_tokenizer()
    mark = tokenizer.convert_tokens_to_ids("<|end|>")
    model = build_model("llama", tie_word_embeddings=False)
    steps = 0

    def third_is_the_mark(_: Any, __: Any, logits: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        steps += 1
        logits = logits.clone()
        logits[..., [mark, tokenizer.eos_token_id]] = -1e4
        logits[..., mark] += 2e4 * (steps == 3)
        return logits

    model.get_submodule("lm_head").register_forward_hook(third_is_the_mark)
    (reply,) = all_replies(chat_engine(model), ["Who?"])
    assert reply.finish == "stop"
    assert steps == 3
    assert chat_engine(model).settings["turn_end"] == "<|end|>"
    steps = 0
    (raw,) = all_replies(chat_engine(model, prompt_format="raw"), ["Who?"])
    assert raw.finish == "length"
    assert "turn_end" not in chat_engine(model, prompt_format="raw").settings


def test_a_template_that_ends_turns_with_the_end_token_adds_nothing(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    engine = TransformersEngine(llama, tokenizer)
    assert engine.settings["prompt_format"] == "chat"
    assert "turn_end" not in engine.settings
