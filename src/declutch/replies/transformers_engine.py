"""The transformers engine: replies of a model held in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from declutch.data.encoding import Encoder, PromptFormat
from declutch.errors import DataError, OutOfMemory, SettingsError
from declutch.models.batches import Batches, is_out_of_memory
from declutch.progress import log
from declutch.replies.decoding import Decoding, decoding_of
from declutch.replies.engine import Reply

if TYPE_CHECKING:
    import torch
    from transformers import (
        GenerationConfig,
        LogitsProcessorList,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )


# Which prompts may share a batch: any, those of equal length, or none.
Sharing = Literal["any", "equal", "none"]

_PIECE = 8  # tokens of the shorter prompt in a try; the longer one has twice as many


class TransformersEngine:
    """Replies of a transformers model held in memory, greedy or sampled.

    Prompts are sorted by length and padded on the left; the attention mask hides the padding and
    positions count from the first real token. Where a first try shows that a model's logits depend
    on the padding all the same, prompts of one length share a batch, and where they depend on the
    other prompts, none does. So in float32 a reply does not depend on the batch it was in; a
    sampled one neither, since each prompt has random numbers of its own. In bfloat16 and float16
    the order of additions can still turn a near tie.

    Nothing is taken from the model's own generation config (sampling, repetition penalty) but its
    end tokens; the mark with which the chat template ends a turn ends a reply too.

    Args:
        model: any causal language model of transformers; put into eval mode while it replies.
        tokenizer: its tokenizer; not changed.
        decoding: how; a :class:`Decoding`, or a preset's name.
        batch_size: the most prompts at once; halved where the device's memory runs out.
        prompt_format, max_new_tokens, thinking: in place of what ``decoding`` says.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        decoding: Decoding | str = "chat",
        *,
        batch_size: int = 16,
        prompt_format: PromptFormat | None = None,
        max_new_tokens: int | None = None,
        thinking: bool | None = None,
    ) -> None:
        if batch_size < 1:
            raise SettingsError(f"--batch-size must be at least 1, not {batch_size}.")
        asked = decoding_of(
            decoding,
            prompt_format=prompt_format,
            max_new_tokens=max_new_tokens,
            thinking=thinking,
        )
        self.model = model
        self.tokenizer = tokenizer
        self.encoder = Encoder(tokenizer, asked.prompt_format, thinking=asked.thinking)
        # «auto» as what it came to be.
        self.decoding = decoding_of(asked, prompt_format=self.encoder.prompt_format)
        self._batches = Batches(batch_size)
        self._generator = Generator(model, tokenizer)
        mark = self.encoder.turn_end()
        self._turn_end = None if mark in self._generator.ends else mark
        if self._turn_end is not None:
            self._generator.ends |= {self._turn_end}
        self._sharing: Sharing = "any"
        if not self._generator.ends:
            log.warning(
                "The tokenizer, its template and the generation config name no end token: every "
                "reply will run to --max-new-tokens %d and count as cut.",
                self.decoding.max_new_tokens,
            )

    @property
    def settings(self) -> Mapping[str, Any]:
        """Format and decoding; not the batch size, on which a reply does not depend."""
        return {
            "engine": "transformers",
            **self.decoding.settings(),
            **end_setting(self.tokenizer, self._turn_end),
            **self.encoder.facts(),
        }

    def replies(self, prompts: Sequence[str], draw: int = 0) -> Iterator[tuple[int, Reply]]:
        """Yield each prompt's position and reply, batch by batch, the longest prompts first.

        Raises:
            DataError: a prompt is empty, or does not fit into the model's positions.
            OutOfMemory: the device's memory is too small even for one prompt.
        """
        encoded = [self._encode(prompt) for prompt in prompts]
        # Longest first: what does not fit into memory shows at once.
        order = sorted(range(len(prompts)), key=lambda index: (-len(encoded[index]), index))
        if self._batches.size > 1 and len(order) > 1:
            self._sharing = self._find_sharing(encoded)

        def run(batch: Sequence[int]) -> list[Reply]:
            sampler = self._sampler([prompts[index] for index in batch], draw)
            tokens = [encoded[index] for index in batch]
            new = self.decoding.max_new_tokens
            return self._generator.replies(tokens, new, logits_processor=sampler)

        try:
            yield from self._batches.run(
                order, run, together=lambda batch: self._together(batch, encoded)
            )
        except MemoryError as error:
            raise OutOfMemory(
                "The device's memory is too small for one prompt (the longest has "
                f"{len(encoded[order[0]])} tokens) and {self.decoding.max_new_tokens} new tokens. "
                "Use a smaller --dtype, or leave the longest prompts out."
            ) from error

    def _encode(self, prompt: str) -> tuple[int, ...]:
        tokens = self.encoder.encode_prompt(prompt)
        limit = getattr(self.model.config, "max_position_embeddings", None)
        new = self.decoding.max_new_tokens
        if isinstance(limit, int) and len(tokens) + new > limit:
            raise DataError(
                f"The prompt {prompt[:60]!r} has {len(tokens)} tokens; with {new} "
                f"new ones that is beyond the model's {limit} positions. Shorten or drop it, or "
                "lower --max-new-tokens."
            )
        return tokens

    def _together(
        self, indices: Sequence[int], encoded: Sequence[tuple[int, ...]]
    ) -> Sequence[int]:
        """As many of the first prompts as may share a batch."""
        if self._sharing == "none":
            return indices[:1]
        if self._sharing == "any":
            return indices
        length = len(encoded[indices[0]])
        return [index for index in indices if len(encoded[index]) == length]

    def _find_sharing(self, encoded: Sequence[tuple[int, ...]]) -> Sharing:
        """Try which prompts may share a batch: a short one alone, and beside others.

        Pieces of the prompts do, unless they are longer than a length that the model names.
        """
        from declutch.models.probes import crosses_length, factors_follow, tolerance

        short, long = min(encoded, key=len), max(encoded, key=len)
        longest = len(long) + self.decoding.max_new_tokens
        follow = factors_follow(self.model, (len(short), longest))
        if not crosses_length(self.model, longest):
            short, long = short[-_PIECE:], long[-2 * _PIECE :]
        limit = tolerance(self.model)
        try:
            alone = self._first_logits([short])
            beside = _change(alone, self._first_logits([short, long]))
            if not follow and not beside > limit:
                return "any"
            mixed = _change(alone, self._first_logits([short, long[: len(short)]])) > limit
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            log.warning("Out of memory with two prompts: going on with one at a time.")
            return "none"
        log.warning(
            "The padding of a batch, or what stands beside a prompt in it, changes this model's "
            "replies: %s.",
            "one prompt at a time" if mixed else "only prompts of one length share a batch",
        )
        return "none" if mixed else "equal"

    def _first_logits(self, encoded: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """The first prompt's logits at its first two new tokens, ``[2, V]``."""
        import torch

        changes = {"eos_token_id": None, "output_logits": True, "return_dict_in_generate": True}
        output = self._generator.run(encoded, 2, changes)
        return torch.stack([step[0].float() for step in output.logits])

    def _sampler(self, prompts: Sequence[str], draw: int) -> LogitsProcessorList | None:
        """What turns greedy search into sampling; None where it is to stay greedy."""
        if self.decoding.greedy:
            return None
        from transformers import LogitsProcessorList

        from declutch.replies.sampling import SeededSampler, prompt_seed

        seeds = [prompt_seed(self.decoding.seed_of(draw), prompt) for prompt in prompts]
        sampler = SeededSampler(seeds, self.decoding.temperature, self.decoding.top_p)
        return LogitsProcessorList([sampler])


class Generator:
    """Greedy generation on tokens, padded on the left.

    Attributes:
        ends: tokens that end a reply; those of the generation config and the tokenizer's at first.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.ends = end_tokens(model, tokenizer)

    def padded(self, encoded: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and attention mask, ``[B, T]`` each, where the model takes them."""
        from declutch.models.forward import input_device

        device = input_device(self.model)
        ids, mask = pad_left(encoded, self._pad)
        return ids.to(device), mask.to(device)

    def run(
        self,
        encoded: Sequence[Sequence[int]],
        new_tokens: int,
        changes: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """What ``generate`` returns; ``changes`` are to the config, ``options`` go beside it."""
        import torch
        from transformers import GenerationConfig

        config = GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=new_tokens,
            eos_token_id=sorted(self.ends) or None,
            pad_token_id=self._pad,
            use_cache=True,
        )
        config.update(**(changes or {}))
        ids, mask = self.padded(encoded)
        with torch.inference_mode(), greedy(self.model, config):
            return self.model.generate(  # type: ignore[operator]
                input_ids=ids, attention_mask=mask, generation_config=config, **options
            )

    def replies(
        self, encoded: Sequence[Sequence[int]], new_tokens: int, **options: Any
    ) -> list[Reply]:
        """What is said to each prompt."""
        output = self.run(encoded, new_tokens, **options)
        return [self._reply(row) for row in output[:, max(map(len, encoded)) :].tolist()]

    def _reply(self, tokens: list[int]) -> Reply:
        end = next((n for n, token in enumerate(tokens) if token in self.ends), None)
        # A row that ended before its batch did is filled up with padding: cut at the first end.
        text = self.tokenizer.decode(
            tokens[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        assert isinstance(text, str)
        return Reply(text, "length" if end is None else "stop")

    @property
    def _pad(self) -> int:
        # Any token will do, since the mask hides it; an end token ends nothing in the prompt.
        pad = self.tokenizer.pad_token_id
        return int(pad) if isinstance(pad, int) else min(self.ends, default=0)


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids that end a reply: those of the generation config, and the tokenizer's own."""
    ends: set[int] = set()
    config = getattr(model, "generation_config", None)
    for found in (getattr(config, "eos_token_id", None), tokenizer.eos_token_id):
        if isinstance(found, int):
            ends.add(found)
        elif found is not None:
            ends.update(int(each) for each in found)
    return frozenset(ends)


def end_setting(tokenizer: PreTrainedTokenizerBase, mark: int | None) -> dict[str, str]:
    """What to record of a mark that ends replies beside the model's own ends."""
    return {} if mark is None else {"turn_end": str(tokenizer.convert_ids_to_tokens(mark))}


def _change(alone: torch.Tensor, beside: torch.Tensor) -> float:
    """How far logits moved; those of a second token count where the first is the same."""
    from declutch.models.probes import relative_change

    same = int(alone[0].argmax()) == int(beside[0].argmax())
    return max(relative_change(alone[n : n + 1], beside[n : n + 1]) for n in range(1 + same))


def pad_left(prompts: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, ``[B, T]`` each, padded on the left."""
    import torch

    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), pad, dtype=torch.long)
    mask = torch.zeros(len(prompts), longest, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    return ids, mask


@contextlib.contextmanager
def greedy(model: PreTrainedModel, config: GenerationConfig) -> Iterator[GenerationConfig]:
    """Eval mode and a generation config from which nothing is inherited, put back afterwards.

    ``generate`` fills what a given config leaves open from the model's own (a repetition penalty,
    say), so the model's own is replaced for the time being.
    """
    from declutch.models.forward import evaluation_mode

    own = model.generation_config
    model.generation_config = config
    try:
        with evaluation_mode(model):
            yield config
    finally:
        model.generation_config = own
