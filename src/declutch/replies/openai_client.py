"""A client for servers that speak the OpenAI protocol: vLLM, llama.cpp, Ollama, OpenAI itself.

The package ``openai`` sends, and tries again after passing faults with growing pauses; here several
requests go at a time, and everything else becomes one clear error. No key is looked for anywhere:
it is sent only where the caller gives it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from operator import itemgetter
from typing import Any
from urllib.parse import urlsplit

from declutch.errors import DeclutchError, SettingsError
from declutch.extras import require
from declutch.progress import log
from declutch.replies.engine import Reply

Message = Mapping[str, Any]
Messages = Sequence[Message]

_CHAT, _COMPLETE = "chat/completions", "completions"


class ServerError(DeclutchError):
    """A server can't be reached, refuses a request, or answers in no known form."""


class OpenAIClient:
    """Asks one model on one server.

    Args:
        url: ``http://host:port``, with or without ``/v1`` or another path before the protocol's.
        model: the name under which the server knows its model.
        api_key: sent as a bearer token; None sends none.
        timeout: seconds for each request.
        concurrency: requests under way at once.
        retries: how often a request is tried again after a passing fault.

    Raises:
        MissingExtra: openai is not installed.
        SettingsError: the URL or a number is wrong.
    """

    def __init__(
        self,
        url: str,
        model: str,
        api_key: str | None = None,
        timeout: float = 60,
        concurrency: int = 8,
        *,
        retries: int = 5,
    ) -> None:
        if timeout <= 0 or concurrency < 1 or retries < 0:
            raise SettingsError(
                "For a server, timeout must be above 0, concurrency at least 1 and retries not "
                f"negative; they are {timeout}, {concurrency} and {retries}."
            )
        self._openai = require("openai", extra="server", why="asking a server")
        self.url = base_url(url)
        self.model = model
        self.concurrency = concurrency
        self.retries = retries
        # OpenAI's newer models take the limit under another name; learnt from their refusal.
        self._limit_name = "max_tokens"
        # What is left out here, the package would look for in the environment.
        names = ("OpenAI-Organization", "OpenAI-Project", *([] if api_key else ["Authorization"]))
        self._headers = dict.fromkeys(names, self._openai.Omit())
        self._client = self._openai.OpenAI(
            base_url=self.url,
            api_key=api_key or "none",
            timeout=timeout,
            max_retries=retries,
        )

    def close(self) -> None:
        """Close its connections; what is under way is given up."""
        self._client.close()

    def __enter__(self) -> OpenAIClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def chat(
        self, conversations: Sequence[Messages], max_tokens: int = 256, **options: Any
    ) -> list[Reply]:
        """As :meth:`chat_each`, the replies alone, in order."""
        return _in_order(self.chat_each(conversations, max_tokens, **options))

    def chat_each(
        self, conversations: Sequence[Messages], max_tokens: int = 256, **options: Any
    ) -> Iterator[tuple[int, Reply]]:
        """Each conversation's position and the reply to it, as they come.

        Args:
            conversations: lists of ``{"role", "content"}``.
            options: ``temperature`` (0 by default), ``seed``, and ``extra``: further fields of
                the request, such as vLLM's ``chat_template_kwargs``.

        Raises:
            ServerError: a request failed for good; the message says why.
        """
        bodies = [{"messages": [dict(m) for m in each]} for each in conversations]
        return self._each(_CHAT, bodies, max_tokens, **options)

    def complete(
        self, prompts: Sequence[str], max_tokens: int = 256, **options: Any
    ) -> list[Reply]:
        """As :meth:`complete_each`, the continuations alone, in order."""
        return _in_order(self.complete_each(prompts, max_tokens, **options))

    def complete_each(
        self, prompts: Sequence[str], max_tokens: int = 256, **options: Any
    ) -> Iterator[tuple[int, Reply]]:
        """As :meth:`chat_each`, of texts to be continued, with no chat template of the server's."""
        return self._each(_COMPLETE, [{"prompt": each} for each in prompts], max_tokens, **options)

    def _each(
        self,
        path: str,
        bodies: Sequence[Mapping[str, Any]],
        max_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Iterator[tuple[int, Reply]]:
        options = {"temperature": temperature, **(extra or {})}
        if seed is not None:
            options["seed"] = seed
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="declutch-server")
        try:
            futures = {
                pool.submit(self._ask, path, body, max_tokens, options): index
                for index, body in enumerate(bodies)
            }
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            # Reached on an error, on Ctrl-C and where the caller stops early, too.
            pool.shutdown(wait=False, cancel_futures=True)

    def _ask(
        self, path: str, body: Mapping[str, Any], max_tokens: int, options: Mapping[str, Any]
    ) -> Reply:
        limit = self._limit_name
        full = {"model": self.model, **body, **options, limit: max_tokens}
        try:
            answer = self._client.post(
                f"/{path}", cast_to=str, body=full, options={"headers": self._headers}
            )
            return self._read(answer, path)
        except self._openai.BadRequestError as error:
            other = "max_completion_tokens"
            if limit == other or path != _CHAT or other not in error.response.text:
                raise ServerError(self._refusal(error, path)) from error
            self._limit_name = other
        except self._openai.APIStatusError as error:
            raise ServerError(self._refusal(error, path)) from error
        except self._openai.APITimeoutError as error:
            raise ServerError(
                f"{self.url} did not answer in time, {self.retries + 1} times. Give a longer "
                "timeout, or fewer requests at once (concurrency)."
            ) from error
        except self._openai.APIError as error:
            raise ServerError(
                f"{self.url} can't be reached ({self.retries + 1} tries): "
                f"{error.__cause__ or error}. Check that the server runs and that the URL is right."
            ) from error
        return self._ask(path, body, max_tokens, options)

    def _read(self, answer: str, path: str) -> Reply:
        try:
            choice = json.loads(answer)["choices"][0]
            if path == _CHAT:
                message = choice["message"]
                # A refusal has a field of its own; reasoning alone leaves the content null.
                text = message.get("content") or message.get("refusal") or ""
            else:
                text = choice["text"]
            finish = choice.get("finish_reason")
            if not isinstance(text, str):
                raise TypeError("the content is not text")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ServerError(
                f"{self.url}/{path} does not answer in the OpenAI protocol ({error!r}): "
                f"{_start(answer)} Check that the URL is that of such a server."
            ) from error
        if finish == "content_filter":
            log.warning("The server's own filter ended a reply of %s.", self.model)
        return Reply(text, "length" if finish == "length" else "stop")

    def _refusal(self, error: Any, path: str) -> str:
        status = error.status_code
        if status in (401, 403):
            remedy = "Give the server's key: key=NAME of an environment variable that holds it."
        elif status == 404:
            remedy = f"Check the URL, and that the server knows a model «{self.model}»."
        elif status in (408, 409, 429) or status >= 500:
            remedy = f"It was tried {self.retries + 1} times: see the server's own log."
        else:
            remedy = "The request itself is at fault: see what the server says."
        said = error.body.get("message") if isinstance(error.body, dict) else None
        said = _start(str(said or error.response.text))
        return f"{self.url}/{path} answered with status {status}: {said} {remedy}"


def base_url(url: str) -> str:
    """The URL before ``/chat/completions``; ``/v1`` is added where there is no path.

    Raises:
        SettingsError: it is no http or https URL.
    """
    try:
        parts = urlsplit(url.strip())
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        valid = False
    if not valid:
        raise SettingsError(
            f"«{url}» is not a server's URL. Write it as http://localhost:8000 or https://host/v1."
        )
    path = parts.path.rstrip("/").removesuffix(f"/{_CHAT}").removesuffix(f"/{_COMPLETE}")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def _in_order(replies: Iterator[tuple[int, Reply]]) -> list[Reply]:
    return [reply for _, reply in sorted(replies, key=itemgetter(0))]


def _start(text: str) -> str:
    text = " ".join(text.split())
    shown = text if len(text) <= 300 else f"{text[:300]}…"
    return f"«{shown}»." if shown else "nothing."
