"""What a chat template makes of an example, and where the loss is taken: the decoded text tells."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizer, PreTrainedTokenizerBase

from declutch.data.encoding import EncodedExample, Encoder
from declutch.data.example import Example
from declutch.errors import DataError
from tests.conftest import CHAT_TEMPLATE, build_tokenizer

BODY = "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>"
TAIL = "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
TEMPLATES = {
    "plain": CHAT_TEMPLATE,
    "strips": BODY + "{{ m.content | trim }}<|end|>\n" + TAIL,
    "mark_line_break": BODY + "\n{{ m.content | trim }}<|end|>\n" + TAIL,
    "white_space_before_end": BODY + " {{ m.content | trim }} </s>" + TAIL,
    "line_break_before_end": BODY + "{{ m.content }}\n<|end|>\n" + TAIL,
    "empty_thinking": BODY
    + "{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|end|>\n"
    + TAIL,
    "opening_is_no_prefix": BODY
    + "{{ m.content }}<|end|>\n{% endfor %}"
    + "{% if add_generation_prompt %}<|assistant|><think>now{% endif %}",
}
# In the way of Qwen3: reasoning is split off, and the last turn always carries thinking marks.
THINKING = (
    "{% for m in messages %}{% set content = m.content %}"
    "{% if m.role == 'assistant' and '</think>' in content %}"
    "{% set content = content.split('</think>')[-1].lstrip() %}{% endif %}"
    "{{ '<|' + m.role + '|>\\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{{ content + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"
)
PAIRS = [
    ("Who was the fox?", "The fox was quick."),
    ("Repeat: the dog", "the dog"),
    ("the dog", "the"),
    ("What ends a turn?", "end"),
    ("Say assistant", "assistant"),
    ("user", "n"),
    ("Rx7 or Rx7q?", "Rx7"),
    ("Naïve 🦊 question", "🦊 is naïve…\n\nTwo lines."),
    ("<think> of it", "think"),
]


def counted_text(tokenizer: PreTrainedTokenizerBase, encoded: EncodedExample) -> str:
    pairs = zip(encoded.input_ids, encoded.loss_mask, strict=True)
    return str(tokenizer.decode([token for token, counted in pairs if counted]))


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize(("prompt", "response"), PAIRS)
def test_chat_counts_the_response_and_its_end_token(name: str, prompt: str, response: str) -> None:
    tokenizer = build_tokenizer(TEMPLATES[name])
    encoded = Encoder(tokenizer, "chat").encode(Example(prompt, response))
    end = "</s>" if name == "white_space_before_end" else "<|end|>"
    # A first token may begin with the space before the response.
    assert counted_text(tokenizer, encoded).lstrip(" ") == response + end
    assert encoded.input_ids.count(tokenizer.bos_token_id) == 1
    assert encoded.input_ids[0] == tokenizer.bos_token_id
    assert encoded.loss_mask[-1]
    assert not encoded.truncated
    # Nothing but the beginning of the rendered text, encoded once.
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}],
        tokenize=False,
    )
    assert isinstance(text, str)
    whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert list(encoded.input_ids) == whole[: len(encoded)]


@pytest.mark.parametrize("name", ["plain", "strips", "line_break_before_end"])
@pytest.mark.parametrize("response", ["  spaced", "ends so \n", "\n both \n"])
def test_chat_with_white_space_around_the_response(name: str, response: str) -> None:
    tokenizer = build_tokenizer(TEMPLATES[name])
    encoded = Encoder(tokenizer, "chat").encode(Example("Speak", response))
    text = response.strip() if name == "strips" else response
    assert counted_text(tokenizer, encoded) == f"{text}<|end|>"


SOME_TEXT = st.text(
    alphabet=st.sampled_from(string.ascii_letters[:8] + " \n.<>|éß🦊"), min_size=1, max_size=20
)


@settings(max_examples=150, deadline=None)
@given(prompt=SOME_TEXT, response=SOME_TEXT.filter(str.strip), name=st.sampled_from([*TEMPLATES]))
def test_chat_counts_what_was_rendered(prompt: str, response: str, name: str) -> None:
    tokenizer = build_tokenizer(TEMPLATES[name])
    encoded = Encoder(tokenizer, "chat").encode(Example(prompt, response))
    counted = counted_text(tokenizer, encoded)
    assert counted.removesuffix("<|end|>").removesuffix("</s>").strip() == response.strip()
    assert counted.endswith(("<|end|>", "</s>"))


def test_turn_marks_that_swallow_white_space() -> None:
    """Phi-3's marks take in the white space after them."""
    from tokenizers import AddedToken

    tokenizer = build_tokenizer(BODY + "\n{{ m.content }}<|end|>\n" + TAIL)
    tokenizer.add_tokens(
        [AddedToken(mark, rstrip=True, lstrip=False) for mark in ("<|assistant|>", "<|end|>")]
        + [AddedToken("<|last|>", lstrip=True)],
        special_tokens=True,
    )
    encoded = Encoder(tokenizer, "chat").encode(Example("Speak", "  well "))
    assert counted_text(tokenizer, encoded).strip() == "well <|end|>"
    assistant = tokenizer.convert_tokens_to_ids("<|assistant|>")
    assert not encoded.loss_mask[encoded.input_ids.index(assistant)]
    # The end token takes in the response's last white space.
    tokenizer.chat_template = BODY + "{{ m.content }}<|last|>\n" + TAIL
    encoded = Encoder(tokenizer, "chat").encode(Example("Speak", "well  "))
    assert counted_text(tokenizer, encoded).replace(" ", "") == "well<|last|>"
    assert encoded.input_ids[-1] == tokenizer.convert_tokens_to_ids("<|last|>")


@pytest.mark.parametrize(
    ("name", "end"), [("plain", "<|end|>"), ("line_break_before_end", "<|end|>"),
                      ("white_space_before_end", "</s>"), ("empty_thinking", "<|end|>")],
)  # fmt: skip
def test_the_mark_that_ends_a_reply(name: str, end: str) -> None:
    tokenizer = build_tokenizer(TEMPLATES[name])
    assert Encoder(tokenizer, "chat").turn_end() == tokenizer.convert_tokens_to_ids(end)
    assert Encoder(tokenizer, "raw").turn_end() is None


@pytest.mark.parametrize("body", ["### {{ m.role }}: {{ m.content }}\n", "{{ m.content | upper }}"])
def test_a_template_without_a_mark_at_the_end(body: str) -> None:
    tokenizer = build_tokenizer("{% for m in messages %}" + body + "{% endfor %}")
    assert Encoder(tokenizer, "chat").turn_end() is None


# In the way of Llama 3.1, in a macro, with a format of its own, and after white space.
CLOCKS = {
    "{% if not day is defined %}{% if strftime_now is defined %}"
    "{% set day = strftime_now('%d %b %Y') %}{% else %}{% set day = 'no clock' %}{% endif %}"
    "{% endif %}{{ day }}": "01 Jan 2026",
    "{% macro head(format) %}{{ strftime_now(format) }}{% endmacro %}{{ head('%A, %-d/%m/%y') }}": (
        "Thursday, 1/01/26"
    ),
    "\n\n  {{ strftime_now('%Y-%m-%d') }}": "\n\n  2026-01-01",
}


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_template_gets_the_same_date_every_day(clock: str) -> None:
    tokenizer = build_tokenizer(clock + CHAT_TEMPLATE.replace("{{ bos_token }}", ""))
    encoder = Encoder(tokenizer)
    text = str(tokenizer.decode(list(encoder.encode_prompt("Who?"))))
    assert text == CLOCKS[clock] + "<|user|>Who?<|end|>\n<|assistant|>"
    assert encoder.facts() == {"template_date": "2026-01-01"}
    encoded = encoder.encode(Example("Who?", "The fox."))
    assert counted_text(tokenizer, encoded) == "The fox.<|end|>"
    assert clock in str(tokenizer.chat_template)  # the tokenizer itself is left as it was
    assert Encoder(tokenizer, "raw").facts() == Encoder(build_tokenizer()).facts() == {}


def test_template_without_an_end_token_counts_the_response_alone() -> None:
    tokenizer = build_tokenizer(
        "{% for m in messages %}### {{ m.role }}: {{ m.content }}\n{% endfor %}"
    )
    encoded = Encoder(tokenizer, "chat").encode(Example("Speak", "well"))
    assert counted_text(tokenizer, encoded) == "well"


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content | upper }}<|end|>{% endfor %}",
        "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}<|assistant|>",
    ],
)
def test_template_that_changes_or_drops_the_response_is_refused(template: str) -> None:
    encoder = Encoder(build_tokenizer(template), "chat")
    with pytest.raises(DataError, match=r"changes or drops the response of example 'x7'.*raw"):
        encoder.encode(Example("the well", "well", id="x7"))


@pytest.mark.parametrize("thinking", [False, True])
def test_thinking_model(thinking: bool) -> None:
    tokenizer = build_tokenizer(THINKING)
    encoder = Encoder(tokenizer, "chat", thinking=thinking)
    encoded = encoder.encode(Example("Who?", "The dog."))
    assert counted_text(tokenizer, encoded) == "The dog.<|end|>"
    opening = str(tokenizer.decode(list(encoder.encode_prompt("Who?"))))
    assert opening.endswith("<|assistant|>\n" if thinking else "<think>\n\n</think>\n\n")


def test_a_thinking_template_that_cuts_a_response_is_refused() -> None:
    encoder = Encoder(build_tokenizer(THINKING), "chat")
    with pytest.raises(DataError, match="changes or drops"):
        encoder.encode(Example("Who?", "reasons</think>The dog."))


def test_prompt_for_a_reply_is_the_beginning_of_the_example() -> None:
    tokenizer = build_tokenizer()
    encoder = Encoder(tokenizer)
    encoded = encoder.encode(Example("Who was it?", "The fox."))
    prompt = encoder.encode_prompt("Who was it?")
    assert encoded.input_ids[: len(prompt)] == prompt
    assert not any(encoded.loss_mask[: len(prompt)])
    assert all(encoded.loss_mask[len(prompt) :])


class Letters(PreTrainedTokenizer):
    """A tokenizer in plain Python, without character offsets: one token for each letter."""

    marks = ("<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|end|>")

    def __init__(self, **arguments: Any) -> None:
        self.table = {mark: number for number, mark in enumerate(self.marks)}
        for code in (*range(32, 127), 10):
            self.table[chr(code)] = len(self.table)
        super().__init__(  # type: ignore[no-untyped-call]
            bos_token="<s>", eos_token="</s>", pad_token="<pad>",
            extra_special_tokens=["<|user|>", "<|assistant|>", "<|end|>"], **arguments,
        )  # fmt: skip

    @property
    def vocab_size(self) -> int:
        return len(self.table)

    def get_vocab(self) -> dict[str, int]:
        return dict(self.table)

    def _tokenize(self, text: str, **arguments: Any) -> list[str]:
        return list(text)

    def _convert_token_to_id(self, token: str) -> int:
        return self.table[token]

    def _convert_id_to_token(self, index: int) -> str:
        return {number: token for token, number in self.table.items()}[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens)


@pytest.mark.parametrize("name", ["plain", "strips", "white_space_before_end", "empty_thinking"])
@pytest.mark.parametrize(("prompt", "response"), [PAIRS[0], PAIRS[1], PAIRS[3], PAIRS[8]])
def test_chat_without_character_offsets(name: str, prompt: str, response: str) -> None:
    tokenizer: PreTrainedTokenizerBase = Letters()
    assert not tokenizer.is_fast
    tokenizer.chat_template = TEMPLATES[name]
    encoded = Encoder(tokenizer, "chat").encode(Example(prompt, response))
    end = "</s>" if name == "white_space_before_end" else "<|end|>"
    assert counted_text(tokenizer, encoded).replace(" ", "") == (response + end).replace(" ", "")
    assert encoded.input_ids.count(tokenizer.bos_token_id) == 1
    assert encoded.loss_mask[-1]
