"""What is encoded, and at which tokens the loss is taken: compared with the decoded text."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from tokenizers import processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from declutch.data.encoding import Encoder, encode_all
from declutch.data.example import Example
from declutch.errors import DataError, SettingsError
from tests.conftest import CHAT_TEMPLATE, build_tokenizer
from tests.data.test_encoding_chat import PAIRS, counted_text


def with_bos() -> PreTrainedTokenizerFast:
    tokenizer = build_tokenizer(None)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    assert tokenizer("the")["input_ids"][0] == tokenizer.bos_token_id
    return tokenizer


def plain_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_auto_follows_the_tokenizer() -> None:
    assert Encoder(build_tokenizer()).prompt_format == "chat"
    assert Encoder(build_tokenizer(None)).prompt_format == "raw"


@pytest.mark.parametrize("bos", [True, False])
def test_raw_joins_prompt_and_response(bos: bool) -> None:
    tokenizer = with_bos() if bos else build_tokenizer(None)
    prompt, response = plain_ids(tokenizer, "Who was it?"), plain_ids(tokenizer, "The fox.")
    start = [1] if bos else []
    encoded = Encoder(tokenizer, "raw").encode(Example("Who was it?", "The fox."))
    assert list(encoded.input_ids) == start + prompt + response
    assert encoded.loss_mask == (False,) * len(start + prompt) + (True,) * len(response)
    assert list(Encoder(tokenizer, "raw").encode_prompt("Who was it?")) == start + prompt


@pytest.mark.parametrize("bos", [True, False])
def test_raw_released_drops_the_first_token_of_the_response(bos: bool) -> None:
    """With BOS that is the second BOS; without it, a token of the response is lost."""
    tokenizer = with_bos() if bos else build_tokenizer(None)
    prompt, response = plain_ids(tokenizer, "Who was it?"), plain_ids(tokenizer, "The fox.")
    start = [1] if bos else []
    kept = response if bos else response[1:]
    encoded = Encoder(tokenizer, "raw-released").encode(Example("Who was it?", "The fox."))
    assert list(encoded.input_ids) == start + prompt + kept
    assert encoded.loss_mask == (False,) * len(start + prompt) + (True,) * len(kept)


def test_raw_without_prompt_predicts_from_the_second_token() -> None:
    encoded = Encoder(build_tokenizer(None), "raw").encode(Example("", "The fox."))
    assert encoded.loss_mask[0] is False
    assert all(encoded.loss_mask[1:])


def test_two_bos_are_refused() -> None:
    tokenizer = with_bos()
    with pytest.raises(SettingsError, match="two «<s>» tokens"):
        Encoder(tokenizer, "raw").encode(Example("<s>Who?", "It."))
    tokenizer.chat_template = "{{ bos_token }}" + CHAT_TEMPLATE
    with pytest.raises(SettingsError, match="two «<s>» tokens"):
        Encoder(tokenizer, "chat").encode_prompt("Who?")


def test_chat_adds_no_second_bos_to_a_template_that_has_one() -> None:
    tokenizer = with_bos()
    tokenizer.chat_template = CHAT_TEMPLATE
    encoder = Encoder(tokenizer)
    assert encoder.encode(Example("Who?", "It.")).input_ids.count(1) == 1
    assert encoder.encode_prompt("Who?").count(1) == 1


def test_formats_are_checked() -> None:
    with pytest.raises(SettingsError, match="«jinja» is unknown"):
        Encoder(build_tokenizer(), "jinja")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="needs a chat template"):
        Encoder(build_tokenizer(None), "chat")


# --- length ---------------------------------------------------------------------------


@pytest.mark.parametrize("prompt_format", ["chat", "raw", "raw-released"])
def test_truncation_cuts_the_response_and_never_the_prompt(prompt_format: Any) -> None:
    tokenizer = build_tokenizer()
    example = Example("Who was it then?", "The quick brown fox, and nobody else.", id="p1")
    whole = Encoder(tokenizer, prompt_format).encode(example)
    prompt = whole.loss_mask.index(True)
    for limit in range(prompt + 1, len(whole)):
        cut = Encoder(tokenizer, prompt_format, max_length=limit).encode(example)
        assert cut.input_ids == whole.input_ids[:limit]
        assert cut.loss_mask == whole.loss_mask[:limit]
        assert cut.truncated
        assert cut.counted >= 1
    assert not Encoder(tokenizer, prompt_format, max_length=len(whole)).encode(example).truncated
    for limit in range(1, prompt + 1):
        with pytest.raises(DataError, match=rf"Example 'p1' .*within {limit} tokens.*fills them"):
            Encoder(tokenizer, prompt_format, max_length=limit).encode(example)


def test_encode_all_reports_what_it_left_out_and_cut(caplog: pytest.LogCaptureFixture) -> None:
    encoder = Encoder(build_tokenizer(None), "raw", max_length=30)
    examples = [
        Example("Who?", "It.", id="fits"),
        Example("the dog " * 40, "It.", id="long-prompt"),
        Example("Who?", "the dog " * 40, id="long-response"),
        Example("the dog " * 40, "It."),
    ]
    with caplog.at_level(logging.WARNING, logger="declutch"):
        dimension = encode_all(encoder, examples, "privacy")
    assert dimension.too_long == ("long-prompt", "#4")
    assert dimension.truncated == 1
    assert [example.truncated for example in dimension.examples] == [False, True]
    assert dimension.tokens == sum(len(example) for example in dimension.examples)
    assert "privacy: 2 of 4 examples left out: long-prompt, #4" in caplog.text
    assert "privacy: the end of 1 of 4 responses was cut at 30 tokens" in caplog.text


def test_encode_all_gives_the_reason_where_nothing_is_left() -> None:
    template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | upper }}<|end|>{% endfor %}"
    encoder = Encoder(build_tokenizer(template), "chat")
    with pytest.raises(DataError, match=r"None of the 1 examples of privacy.*changes or drops"):
        encode_all(encoder, [Example("Who?", "it")], "privacy")
    with pytest.raises(DataError, match="there is none"):
        encode_all(encoder, [], "privacy")


@pytest.mark.parametrize("prompt_format", ["chat", "raw"])
def test_an_empty_response_is_refused(prompt_format: Any) -> None:
    with pytest.raises(DataError, match="empty"):
        Encoder(build_tokenizer(), prompt_format).encode(Example("Who?", ""))


# --- the real thing -------------------------------------------------------------------

SMOLLM2 = Path.home() / ".cache" / "declutch" / "SmolLM2-135M-Instruct"


@pytest.mark.slow
@pytest.mark.skipif(not SMOLLM2.is_dir(), reason="the demo model is not in the cache")
def test_smollm2() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SMOLLM2)
    encoder = Encoder(tokenizer)
    assert encoder.prompt_format == "chat"
    for prompt, response in PAIRS:
        encoded = encoder.encode(Example(prompt, response))
        assert counted_text(tokenizer, encoded) == f"{response}<|im_end|>"
        prompt_ids = encoder.encode_prompt(prompt)
        assert encoded.input_ids[: len(prompt_ids)] == prompt_ids
        assert str(tokenizer.decode(list(prompt_ids))).startswith("<|im_start|>system\n")
        assert encoded.input_ids[:2].count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize(
    "template",
    ["{{ raise_exception('no system turn') }}", "{% if %}", "{{ messages.x.y }}", "{{ 1 / 0 }}",
     "{{ messages[7].content }}", {"tool_use": "{{ messages }}"}],
)  # fmt: skip
def test_a_template_that_raises_or_has_no_default(template: Any) -> None:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = template
    for encode in (
        lambda: Encoder(tokenizer, "chat").encode_prompt("Who?"),
        lambda: Encoder(tokenizer, "auto").encode(Example("Who?", "Nobody.")),
    ):
        with pytest.raises(SettingsError, match="chat template fails"):
            encode()
