"""Where a judge model runs: in this process by transformers, or behind a server."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_args

from declutch.data.encoding import dated_template
from declutch.errors import DataError, OutOfMemory, SettingsError
from declutch.judges.options import Options
from declutch.models.batches import Batches
from declutch.replies.engine import Reply
from declutch.replies.openai_client import Messages, OpenAIClient
from declutch.settings import Dtype, ModelSettings

if TYPE_CHECKING:
    from declutch.models.loading import LoadedModel

T = TypeVar("T")


class Backend(Protocol):
    """Something that runs a judge model, greedily.

    Attributes:
        settings: what the outputs depend on.
    """

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def chat(
        self, conversations: Sequence[Messages], max_tokens: int, arguments: Mapping[str, Any]
    ) -> list[Reply]:
        """Answers under the judge's own chat template, which gets ``arguments``."""
        ...

    def complete(self, prompts: Sequence[str], max_tokens: int) -> list[Reply]:
        """Continuations of texts that hold the whole prompt but the begin mark."""
        ...


class ServerBackend:
    """A judge behind an OpenAI-compatible server, which applies the chat template itself."""

    def __init__(self, client: OpenAIClient) -> None:
        self.client = client

    @property
    def settings(self) -> Mapping[str, Any]:
        """Which model is asked; not where it runs."""
        return {"backend": "server", "model": self.client.model}

    def chat(
        self, conversations: Sequence[Messages], max_tokens: int, arguments: Mapping[str, Any]
    ) -> list[Reply]:
        """As :meth:`Backend.chat`; ``arguments`` are sent as vLLM's ``chat_template_kwargs``."""
        extra = {"chat_template_kwargs": dict(arguments)} if arguments else None
        return self.client.chat(conversations, max_tokens, extra=extra)

    def complete(self, prompts: Sequence[str], max_tokens: int) -> list[Reply]:
        """As :meth:`Backend.complete`."""
        return self.client.complete(prompts, max_tokens)


class LocalBackend:
    """A judge loaded by transformers when it is first asked.

    Args:
        reference, options: as for ``load_model``.
        batch_size: replies judged at once; halved where memory runs out.
    """

    def __init__(
        self, reference: str, options: ModelSettings | None = None, *, batch_size: int = 8
    ) -> None:
        self.reference = reference
        self.options = options or ModelSettings()
        self._batches = Batches(batch_size)
        self._loaded: LoadedModel | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        """Which model is asked, and in which type."""
        return {
            "backend": "transformers",
            "model": self.reference,
            "revision": self.options.revision,
            "dtype": self.options.dtype,
        }

    def chat(
        self, conversations: Sequence[Messages], max_tokens: int, arguments: Mapping[str, Any]
    ) -> list[Reply]:
        """As :meth:`Backend.chat`."""
        return self._generate([self._render(each, arguments) for each in conversations], max_tokens)

    def complete(self, prompts: Sequence[str], max_tokens: int) -> list[Reply]:
        """As :meth:`Backend.complete`."""
        tokenizer = self._model().tokenizer
        return self._generate([list(tokenizer(each)["input_ids"]) for each in prompts], max_tokens)

    def probabilities(
        self,
        conversations: Sequence[Messages],
        arguments: Mapping[str, Any],
        words: tuple[str, str] = ("Yes", "No"),
    ) -> list[float]:
        """Probability that the answer's first token is the first word, given that it is of both.

        Raises:
            SettingsError: the tokenizer has no single token for a word.
        """
        tokenizer = self._model().tokenizer
        ids = [tokenizer.encode(word, add_special_tokens=False) for word in words]
        if any(len(each) != 1 for each in ids) or ids[0] == ids[1]:
            raise SettingsError(
                f"{self.reference} has no single tokens for {words[0]} and {words[1]}: it is not "
                "a judge of this kind."
            )
        pair = ids[0][0], ids[1][0]
        encoded = [self._render(each, arguments) for each in conversations]
        return self._batched(encoded, lambda batch: self._first_token(batch, pair), 1)

    def _model(self) -> LoadedModel:
        if self._loaded is None:
            from declutch.models.loading import load_model

            self._loaded = load_model(self.reference, self.options)
        return self._loaded

    def _render(self, conversation: Messages, arguments: Mapping[str, Any]) -> list[int]:
        import jinja2

        tokenizer = self._model().tokenizer
        if not tokenizer.chat_template:
            raise SettingsError(
                f"{self.reference} has no chat template, and this judge's prompt is in there: it "
                "is not a judge of this kind."
            )
        try:
            text = tokenizer.apply_chat_template(
                [dict(message) for message in conversation],
                tokenize=False,
                add_generation_prompt=True,
                # A verdict must not depend on the day, as by a template that writes its date.
                chat_template=dated_template(tokenizer),
                **arguments,
            )
        except (jinja2.TemplateError, KeyError, TypeError, ValueError) as error:
            raise SettingsError(
                f"The chat template of {self.reference} can't be filled in: {error}."
            ) from error
        # Templates write the begin mark themselves; where one does not, the tokenizer does.
        begin = tokenizer.bos_token
        special = not (begin and str(text).startswith(str(begin)))
        return list(tokenizer(text, add_special_tokens=special)["input_ids"])

    def _batched(
        self,
        encoded: Sequence[list[int]],
        run: Callable[[list[list[int]]], list[T]],
        new_tokens: int,
    ) -> list[T]:
        """Run all prompts, the longest first; the results are in the order given."""
        limit = getattr(self._model().model.config, "max_position_embeddings", None)
        longest = max((len(tokens) for tokens in encoded), default=0)
        if isinstance(limit, int) and longest + new_tokens > limit:
            raise DataError(
                f"A prompt with its reply has {longest} tokens for the judge {self.reference}; "
                f"with {new_tokens} for its answer that is beyond its {limit} positions. Leave "
                "that prompt out, or lower --max-new-tokens."
            )
        order = sorted(range(len(encoded)), key=lambda index: (-len(encoded[index]), index))
        try:
            found = dict(
                self._batches.run(order, lambda batch: run([encoded[index] for index in batch]))
            )
        except MemoryError as error:
            raise OutOfMemory(
                f"The device's memory is too small for the judge {self.reference}. Use a smaller "
                "dtype, or a judge behind a server (url=...)."
            ) from error
        return [found[index] for index in range(len(encoded))]

    def _generate(self, encoded: Sequence[list[int]], max_tokens: int) -> list[Reply]:
        from declutch.replies.transformers_engine import Generator

        generator = Generator(self._model().model, self._model().tokenizer)
        return self._batched(encoded, lambda each: generator.replies(each, max_tokens), max_tokens)

    def _first_token(self, batch: list[list[int]], pair: tuple[int, int]) -> list[float]:
        import torch

        from declutch.replies.transformers_engine import Generator

        model = self._model().model
        ids, mask = Generator(model, self._model().tokenizer).padded(batch)
        # Padding is on the left, so positions must count from the first real token.
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        with torch.inference_mode():
            logits = model(
                input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=1
            ).logits[:, -1]
        gaps = (logits[:, pair[1]] - logits[:, pair[0]]).float().tolist()
        return [1 / (1 + math.exp(min(gap, 700.0))) for gap in gaps]


def make_backend(options: Options, default_model: str) -> Backend:
    """The backend that a judge's options ask for: a server where ``url`` is given."""
    model = options.text("model", first=True)
    if (url := options.text("url")) is not None:
        return ServerBackend(make_client(options, url, model or default_model))
    settings = ModelSettings(
        revision=options.text("revision"),
        dtype=options.choice("dtype", get_args(Dtype)),  # type: ignore[arg-type]
        device=options.text("device"),
        trust_remote_code=options.flag("trust-remote-code"),
    )
    size = options.whole("batch-size", 8)
    return LocalBackend(model or default_model, settings, batch_size=size)


def make_client(options: Options, url: str, model: str) -> OpenAIClient:
    """The client that ``timeout``, ``concurrency``, ``retries`` and ``key`` ask for.

    Raises:
        SettingsError: ``key`` names an environment variable that is not set.
    """
    key, name = None, options.text("key")
    if name is not None and not (key := os.environ.get(name)):
        raise SettingsError(
            f"The judge «{options.judge}»: key={name} must name an environment variable that holds "
            "the server's key, and that one is not set."
        )
    return OpenAIClient(
        url,
        model,
        key,
        timeout=options.number("timeout", 60, low=0.1),
        concurrency=options.whole("concurrency", 8),
        retries=options.whole("retries", 5, low=0),
    )
