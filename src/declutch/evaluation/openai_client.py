"""A client for servers that speak the OpenAI protocol: vLLM, llama.cpp, Ollama, OpenAI itself.

It sends several requests at a time, tries again after passing faults (a busy or restarting server,
a broken connection) with growing pauses, and turns everything else into one clear error. No key is
looked for anywhere: it is sent only where the caller gives it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

from declutch.errors import DeclutchError, SettingsError
from declutch.extras import require
from declutch.progress import log

Message = Mapping[str, str]
Messages = Sequence[Message]

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_LONGEST_PAUSE = 30.0
_CHAT, _COMPLETE = "chat/completions", "completions"


class ServerError(DeclutchError):
    """A server can't be reached, refuses a request, or answers in no known form."""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What the server's model said.

    Attributes:
        text: as the server gives it; without reasoning where the server keeps that apart.
        finish: ``length`` where the token limit cut it, ``stop`` for every other end.
    """

    text: str
    finish: Literal["stop", "length"]


class OpenAIClient:
    """Asks one model on one server.

    Args:
        url: ``http://host:port``, with or without ``/v1`` or another path before the protocol's.
        model: the name under which the server knows its model.
        api_key: sent as a bearer token; None sends none.
        timeout: seconds for each request.
        concurrency: requests under way at once.
        retries: how often a request is tried again after a passing fault.
        backoff: seconds before the first further try; doubled for each one after it.

    Raises:
        MissingExtra: httpx is not installed.
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
        backoff: float = 0.5,
    ) -> None:
        if timeout <= 0 or concurrency < 1 or retries < 0:
            raise SettingsError(
                "For a server, timeout must be above 0, concurrency at least 1 and retries not "
                f"negative; they are {timeout}, {concurrency} and {retries}."
            )
        self._httpx = require("httpx", extra="server", why="asking a server")
        self.url = base_url(url)
        self.model = model
        self.concurrency = concurrency
        self.retries = retries
        self.backoff = backoff
        # OpenAI's newer models take the limit under another name; learnt from their refusal.
        self._limit_name = "max_tokens"
        self._stop = threading.Event()
        self._client = self._httpx.Client(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=timeout,
            limits=self._httpx.Limits(max_connections=concurrency),
        )

    def close(self) -> None:
        """Close its connections; what is under way is given up."""
        self._stop.set()
        self._client.close()

    def __enter__(self) -> OpenAIClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def chat(
        self,
        conversations: Sequence[Messages],
        max_tokens: int = 256,
        temperature: float = 0.0,
        seed: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> list[ChatReply]:
        """The reply to each conversation (a list of ``{"role", "content"}``), in order.

        Args:
            extra: further fields of the request, such as vLLM's ``chat_template_kwargs``.

        Raises:
            ServerError: a request failed for good; the message says why.
        """
        found = dict(self.chat_each(conversations, max_tokens, temperature, seed, extra))
        return [found[index] for index in range(len(conversations))]

    def chat_each(
        self,
        conversations: Sequence[Messages],
        max_tokens: int = 256,
        temperature: float = 0.0,
        seed: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Iterator[tuple[int, ChatReply]]:
        """As :meth:`chat`, but each reply with its position, as they come."""
        options = {**_options(temperature, seed), **(extra or {})}
        return self._each(
            [
                partial(
                    self._ask, _CHAT, {"messages": [dict(m) for m in each]}, max_tokens, options
                )
                for each in conversations
            ]
        )

    def complete(
        self,
        prompts: Sequence[str],
        max_tokens: int = 256,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> list[ChatReply]:
        """The continuation of each text, in order: no chat template is applied by the server.

        Raises:
            ServerError: a request failed for good; the message says why.
        """
        found = dict(self.complete_each(prompts, max_tokens, temperature, seed))
        return [found[index] for index in range(len(prompts))]

    def complete_each(
        self,
        prompts: Sequence[str],
        max_tokens: int = 256,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Iterator[tuple[int, ChatReply]]:
        """As :meth:`complete`, but each reply with its position, as they come."""
        options = _options(temperature, seed)
        return self._each(
            [
                partial(self._ask, _COMPLETE, {"prompt": prompt}, max_tokens, options)
                for prompt in prompts
            ]
        )

    def _each(self, calls: Sequence[Callable[[], ChatReply]]) -> Iterator[tuple[int, ChatReply]]:
        self._stop.clear()
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="declutch-server")
        try:
            futures = {pool.submit(call): index for index, call in enumerate(calls)}
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            # Reached on an error, on Ctrl-C and where the caller stops early, too.
            self._stop.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _ask(
        self, path: str, body: Mapping[str, Any], max_tokens: int, options: Mapping[str, Any]
    ) -> ChatReply:
        limit_name = self._limit_name
        full = {"model": self.model, **body, **options, limit_name: max_tokens}
        response = self._post(path, full)
        if (
            response.status_code == 400
            and limit_name == "max_tokens"
            and path == _CHAT
            and "max_completion_tokens" in response.text
        ):
            self._limit_name = "max_completion_tokens"
            return self._ask(path, body, max_tokens, options)
        if response.status_code >= 300:
            raise ServerError(self._refusal(response, path))
        return self._read(response, path)

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The server's answer, after as many tries as are allowed."""
        address = f"{self.url}/{path}"
        for attempt in range(self.retries + 1):
            last = attempt == self.retries
            try:
                response = self._client.post(address, json=body)
            except (self._httpx.InvalidURL, self._httpx.UnsupportedProtocol) as error:
                raise SettingsError(
                    f"The server's URL {self.url} is not usable: {error}."
                ) from error
            except self._httpx.TransportError as error:
                # Nothing listens: that seldom passes, so it is tried fewer times.
                refused = isinstance(error, self._httpx.ConnectError) and attempt >= 2
                if last or refused:
                    raise ServerError(self._unreachable(error, attempt + 1)) from error
                pause = self._pause(attempt)
            else:
                if response.status_code not in _PASSING or last:
                    return response
                pause = self._pause(attempt, response.headers.get("retry-after"))
            log.debug("%s: trying again in %.1f s", address, pause)
            if self._stop.wait(pause):
                raise ServerError("Given up, since another request failed.")
        raise AssertionError("unreachable")

    def _pause(self, attempt: int, asked: str | None = None) -> float:
        pause = self.backoff * 2.0**attempt
        if asked is not None and asked.strip().isdigit():
            pause = max(pause, float(asked))
        return min(pause, _LONGEST_PAUSE)

    def _read(self, response: Any, path: str) -> ChatReply:
        try:
            choice = response.json()["choices"][0]
            if path == _CHAT:
                message = choice["message"]
                # A refusal has a field of its own; reasoning alone leaves the content null.
                text = message.get("content") or message.get("refusal") or ""
            else:
                text = choice["text"]
            finish = choice.get("finish_reason")
            if not isinstance(text, str):
                raise TypeError("the content is not text")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ServerError(
                f"{self.url}/{path} does not answer in the OpenAI protocol ({error!r}): "
                f"{_start(response.text)} Check that the URL is that of such a server."
            ) from error
        if finish == "content_filter":
            log.warning("The server's own filter ended a reply of %s.", self.model)
        return ChatReply(text, "length" if finish == "length" else "stop")

    def _refusal(self, response: Any, path: str) -> str:
        said = _error_message(response)
        status = response.status_code
        if status in (401, 403):
            remedy = "Give the server's key: key=NAME of an environment variable that holds it."
        elif status == 404:
            remedy = f"Check the URL, and that the server knows a model «{self.model}»."
        elif status in _PASSING:
            remedy = f"It was tried {self.retries + 1} times: see the server's own log."
        else:
            remedy = "The request itself is at fault: see what the server says."
        return f"{self.url}/{path} answered with status {status}: {said} {remedy}"

    def _unreachable(self, error: Exception, tries: int) -> str:
        if isinstance(error, self._httpx.TimeoutException):
            return (
                f"{self.url} did not answer in time, {tries} times ({type(error).__name__}). Give "
                "a longer timeout, or fewer requests at once (concurrency)."
            )
        return (
            f"{self.url} can't be reached ({tries} tries): {str(error) or type(error).__name__}. "
            "Check that the server runs and that the URL is right."
        )


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


def _options(temperature: float, seed: int | None) -> dict[str, Any]:
    return {"temperature": temperature} | ({} if seed is None else {"seed": seed})


def _error_message(response: Any) -> str:
    """What the server says is wrong, in whichever of the usual places."""
    try:
        value = response.json()
    except ValueError:
        return _start(response.text)
    error = value.get("error", value) if isinstance(value, dict) else value
    message = error.get("message", error) if isinstance(error, dict) else error
    return _start(str(message))


def _start(text: str) -> str:
    text = " ".join(text.split())
    shown = text if len(text) <= 300 else f"{text[:300]}…"
    return f"«{shown}»." if shown else "nothing."
