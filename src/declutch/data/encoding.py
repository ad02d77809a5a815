"""Turn an example into tokens, and say at which of them the loss is taken.

Formats (``--prompt-format``):

``chat``
    The tokenizer's chat template, rendered once and encoded once, so that no second BOS gets in.
    The loss is taken on the response and on the token that ends it.
``raw``
    Prompt and response encoded apart and joined; the loss is taken on the response.
``raw-released``
    As the code published with the paper (arXiv 2410.16672): like ``raw``, but the response is
    encoded with special tokens and its first token is then dropped. With a tokenizer that
    prepends BOS that token is the BOS; with any other it is the response's own first token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args

from declutch.data.example import Example
from declutch.errors import DataError, SettingsError
from declutch.files import sha256_json
from declutch.progress import log
from declutch.settings import PromptFormat as PromptFormat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What a template that writes the day's date gets to write: with the real one the same data would
# be other tokens tomorrow, and a model before and after would not see the same prompts.
TEMPLATE_DATE = datetime(2026, 1, 1)
_CLOCK = "strftime_now"  # the function that transformers offers to templates


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """Tokens of one example.

    Attributes:
        input_ids: prompt and response.
        loss_mask: True at each token that the loss counts (predicted from the ones before it).
        truncated: the end of the response was cut to fit ``max_length``.
    """

    input_ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def counted(self) -> int:
        """Number of tokens that the loss counts."""
        return sum(self.loss_mask)


class Encoder:
    """Encodes examples and prompts for one tokenizer in one format.

    Args:
        tokenizer: a transformers tokenizer.
        prompt_format: ``auto`` is ``chat`` where the tokenizer has a template, else ``raw``.
        max_length: the most tokens an example may have. A longer response is cut at its end; a
            prompt is never cut.
        thinking: for templates that know a thinking mode: whether it is on.

    Raises:
        SettingsError: the format is unknown, or is ``chat`` and the tokenizer has no template.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompt_format: PromptFormat = "auto",
        max_length: int = 1024,
        thinking: bool = False,
    ) -> None:
        if prompt_format not in get_args(PromptFormat):
            raise SettingsError(
                f"--prompt-format «{prompt_format}» is unknown; give one of "
                f"{', '.join(get_args(PromptFormat))}."
            )
        has_template = bool(getattr(tokenizer, "chat_template", None))
        if prompt_format == "auto":
            prompt_format = "chat" if has_template else "raw"
        if prompt_format == "chat" and not has_template:
            raise SettingsError(
                "--prompt-format chat needs a chat template, and this tokenizer has none. Use "
                "--prompt-format raw, or a model folder whose tokenizer has a template."
            )
        self.tokenizer = tokenizer
        self.prompt_format = prompt_format
        self.max_length = max_length
        self.thinking = thinking
        self._template = dated_template(tokenizer) if prompt_format == "chat" else None

    def facts(self) -> dict[str, Any]:
        """What decides the tokens beside the tokenizer and the settings, to be recorded."""
        if self._template is None:
            return {}
        return {"template_date": TEMPLATE_DATE.date().isoformat()}

    def turn_end(self) -> int | None:
        """The mark with which the chat template ends a reply; None where there is none.

        A model may know it as the end although neither the tokenizer nor the generation config
        calls it so.
        """
        if self.prompt_format != "chat":
            return None
        try:
            ids, _ = self._encode_chat(Example("Who?", "Me."))
        except DataError:  # a template that no example can be encoded with
            return None
        return ids[-1] if ids[-1] in _marks(self.tokenizer) else None

    def encode(self, example: Example) -> EncodedExample:
        """Encode one example.

        Raises:
            DataError: the prompt leaves no room for a response, or nothing is left to predict.
        """
        chat = self.prompt_format == "chat"
        ids, mask = self._encode_chat(example) if chat else self._encode_raw(example)
        self._check_bos(ids)
        if ids:
            mask[0] = False  # nothing comes before the first token to predict it from
        truncated = len(ids) > self.max_length
        ids, mask = ids[: self.max_length], mask[: self.max_length]
        if not any(mask):
            raise DataError(
                f"Example {_label(example)} has no response token within "
                f"{self.max_length} tokens ({'its prompt fills them' if truncated else 'empty'}). "
                "Raise --max-length, or leave the example out."
            )
        return EncodedExample(tuple(ids), tuple(mask), truncated)

    def encode_prompt(self, prompt: str) -> tuple[int, ...]:
        """Encode a prompt alone, ready for a reply to be generated.

        Raises:
            DataError: it is empty.
        """
        if self.prompt_format == "chat":
            ids = self._tokens(self._render(prompt), special=False)
        else:
            ids = self._tokens(prompt, special=True)
        if not ids:
            raise DataError("A prompt is empty, and the tokenizer puts nothing before it.")
        self._check_bos(ids)
        return tuple(ids)

    def _render(self, prompt: str, response: str | None = None) -> str:
        messages = [{"role": "user", "content": prompt}]
        if response is not None:
            messages.append({"role": "assistant", "content": response})
        try:
            text = self.tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=response is None,
                enable_thinking=self.thinking,
                chat_template=self._template,
            )
        except Exception as error:  # a template is a program, and raises what it likes
            reason = " ".join(str(error).split())[:200]
            raise SettingsError(
                f"The tokenizer's chat template fails on a conversation of one question"
                f"{' and its answer' if response is not None else ''} "
                f"({type(error).__name__}: {reason}). Correct it (chat_template.jinja, or "
                "chat_template in tokenizer_config.json), or use --prompt-format raw."
            ) from error
        assert isinstance(text, str)
        return text

    def _encode_chat(self, example: Example) -> tuple[list[int], list[bool]]:
        text = self._render(example.prompt, example.response)
        start, end = self._response_span(text, example)
        if not self.tokenizer.is_fast:
            return self._encode_without_offsets(text, start, end)
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids: list[int] = list(encoded["input_ids"])
        offsets: list[tuple[int, int]] = encoded["offset_mapping"]
        marks = _marks(self.tokenizer)
        mask = [
            # A turn mark may take in the white space beside it, and with it part of the response.
            last > start and first < end and not (token in marks and (first < start or last > end))
            for token, (first, last) in zip(ids, offsets, strict=True)
        ]
        self._count_end_token(ids, mask)
        return ids, mask

    def _response_span(self, text: str, example: Example) -> tuple[int, int]:
        """Where in the rendered text the response is, as the template wrote it.

        Templates may strip the response or put thinking marks before it, and the prompt may hold
        the same words: the same conversation with another response shows what stands around it.
        """
        if not example.response.strip():
            raise DataError(f"Example {_label(example)} has an empty response. Leave it out.")
        stand_in = "Rx7"
        while stand_in in text or stand_in in example.prompt:
            stand_in += "q"
        before, found, after = self._render(example.prompt, stand_in).partition(stand_in)
        start, end = len(before), len(text) - len(after)
        held = text[start:end]
        whole = text.startswith(before) and text.endswith(after) and start < end
        if not (found and whole and held.strip() and held.strip() == example.response.strip()):
            raise DataError(
                f"The chat template changes or drops the response of example {_label(example)}, "
                "so its tokens can't be told from the prompt's. Use --prompt-format raw, or leave "
                "the example out."
            )
        return start, end

    def _encode_without_offsets(
        self, text: str, start: int, end: int
    ) -> tuple[list[int], list[bool]]:
        """For tokenizers that give no character offsets: compare with the encoded beginnings."""
        ids = self._tokens(text, special=False)
        first = _common(ids, self._tokens(text[:start], special=False))
        last = _common(ids, self._tokens(text[:end], special=False))
        mask = [first <= index < last for index in range(len(ids))]
        self._count_end_token(ids, mask)
        return ids, mask

    def _count_end_token(self, ids: list[int], mask: list[bool]) -> None:
        """Count the token that ends the turn, and drop what the template adds after the response.

        White space may stand between the two (Llama 2); it is kept and not counted. What follows
        (a line break, a closing mark for the next turn) is never generated.
        """
        after = max((index for index, counted in enumerate(mask) if counted), default=-1) + 1
        marks = _marks(self.tokenizer)
        end = after
        while after and end < len(ids) and ids[end] not in marks:
            if str(self.tokenizer.decode([ids[end]])).strip():
                end = len(ids)
            end += 1
        if after and end < len(ids):
            mask[end] = True
            after = end + 1
        del ids[after:], mask[after:]

    def _encode_raw(self, example: Example) -> tuple[list[int], list[bool]]:
        prompt = self._tokens(example.prompt, special=True)
        if self.prompt_format == "raw":
            response = self._tokens(example.response, special=False)
        else:
            response = self._tokens(example.response, special=True)[1:]
        return prompt + response, [False] * len(prompt) + [True] * len(response)

    def _tokens(self, text: str, *, special: bool) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=special)["input_ids"])

    def _check_bos(self, ids: list[int]) -> None:
        bos = self.tokenizer.bos_token_id
        if bos is not None and len(ids) > 1 and ids[0] == ids[1] == bos:
            raise SettingsError(
                f"The encoded text begins with two «{self.tokenizer.bos_token}» tokens: the text "
                "or the chat template already holds the one that the tokenizer adds. Take it out "
                "of the text, or use another --prompt-format."
            )


def dated_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """A chat template that asks for the day's date, made to write :data:`TEMPLATE_DATE`; or None.

    A Jinja macro takes the clock's place, for any format: transformers lets no function in among
    a template's variables.
    """
    if _CLOCK not in str(tokenizer.chat_template):
        return None
    codes = [f"%{flag}{code}" for flag in ("-", "") for code in "aAbBcdefFGHIjmMpSuUVwWxXyYzZ"]
    filters = "".join(f' | replace("{code}", "{TEMPLATE_DATE.strftime(code)}")' for code in codes)
    # What is written last keeps Jinja from trimming the template's own beginning.
    clock = f"{{%- macro {_CLOCK}(format) %}}{{{{ format{filters} }}}}{{%- endmacro %}}{{{{ '' }}}}"
    return clock + str(tokenizer.get_chat_template())


def _label(example: Example) -> str:
    return repr(example.id or example.prompt[:40])


def _marks(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Special tokens, and others added by hand: turn marks are not «special» everywhere."""
    added: dict[int, Any] = getattr(tokenizer, "added_tokens_decoder", {})
    return {*tokenizer.all_special_ids, *added}


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the common beginning."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(first), len(second)))


@dataclass(frozen=True, slots=True)
class EncodedDimension:
    """All encoded examples of one dimension, with what was left out on the way."""

    examples: tuple[EncodedExample, ...]
    truncated: int
    too_long: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """Tokens over all examples."""
        return sum(len(example) for example in self.examples)


def encode_all(
    encoder: Encoder, examples: Sequence[Example], name: str = "", *, allow_fewer: bool = True
) -> EncodedDimension:
    """Encode a dimension's examples; those without a response token are left out and named.

    That is so where a prompt fills ``max_length``, or a template drops the response.

    Raises:
        DataError: no example is left, or some are lost without ``allow_fewer``.
    """
    none = f"None of the {len(examples)} examples of {name or 'the data'} can be used. The first: "
    groups = [[example] for example in examples]
    return encode_groups(
        encoder, groups, name, "examples", f"{none}{{reason}}", allow_fewer=allow_fewer
    )


def encode_groups(
    encoder: Encoder,
    groups: Sequence[Sequence[Example]],
    name: str,
    what: str,
    none: str,
    *,
    allow_fewer: bool,
) -> EncodedDimension:
    """Encode groups of examples, each of which is used whole or not at all.

    Args:
        what: what a group is called, in the plural.
        none: what to say where none is left; ``{reason}`` is what is wrong with the first.

    Raises:
        DataError: none is left, or some are lost without ``allow_fewer``.
    """
    encoded: list[EncodedExample] = []
    lost: list[str] = []
    reason = ""
    for number, group in enumerate(groups, start=1):
        try:
            encoded += [encoder.encode(example) for example in group]
        except DataError as error:
            log.debug("%s", error)
            reason = reason or str(error)
            lost.append(group[0].id or f"#{number}")
    if not encoded:
        raise DataError(none.replace("{reason}", reason or "there is none."))
    if lost:
        shown = ", ".join(lost[:5]) + (" ..." if len(lost) > 5 else "")
        if not allow_fewer:
            raise DataError(
                f"{name}: {len(lost)} of {len(groups)} {what} can't be encoded: {shown}. The "
                f"first: {reason} Or use the other {len(groups) - len(lost)} with --allow-fewer."
            )
        log.warning(
            "%s: %d of %d %s left out: %s. The first: %s",
            name, len(lost), len(groups), what, shown, reason,
        )  # fmt: skip
    truncated = sum(example.truncated for example in encoded)
    if truncated:
        log.warning(
            "%s: the end of %d of %d responses was cut at %d tokens (--max-length)",
            name, truncated, sum(map(len, groups)), encoder.max_length,
        )  # fmt: skip
    return EncodedDimension(tuple(encoded), truncated, tuple(lost))


def tokens_sha256(examples: Sequence[EncodedExample]) -> str:
    """The hash of all that a model is given: tokens, and where the loss is taken, in order."""
    return sha256_json([[one.input_ids, one.loss_mask] for one in examples])
