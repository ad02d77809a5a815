"""The client against a real HTTP server on loopback."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from declutch.errors import SettingsError
from declutch.replies.engine import Reply
from declutch.replies.openai_client import OpenAIClient, ServerError, base_url
from tests.fake_server import FakeServer, says, serving


def client(server: FakeServer, **options: Any) -> OpenAIClient:
    return OpenAIClient(server.url, "m", **options)


def ask(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text}] for text in texts]


def echo(_: str, body: dict[str, Any]) -> Any:
    text = body["messages"][-1]["content"]
    # The later ones answer first, so that order has to be kept by the client.
    time.sleep(0.02 * (5 - int(text)))
    return says(f"said {text}")("/chat/completions", body)


def test_replies_come_in_the_order_asked_and_several_at_a_time() -> None:
    with serving(echo) as server, client(server, concurrency=5) as asked:
        replies = asked.chat(ask("0", "1", "2", "3", "4"), max_tokens=7, seed=3)
    assert [reply.text for reply in replies] == [f"said {n}" for n in range(5)]
    assert server.busiest > 1
    path, body, headers = server.requests[0]
    assert path == "/v1/chat/completions"
    assert (body["model"], body["max_tokens"], body["temperature"], body["seed"]) == ("m", 7, 0, 3)
    assert "authorization" not in {name.lower() for name in headers}


def test_no_more_at_once_than_allowed() -> None:
    with serving(says("x")) as server, client(server, concurrency=2) as asked:
        server.delay = 0.02
        assert len(asked.chat(ask(*"abcdef"))) == 6
    assert server.busiest <= 2


def test_completions_send_text_and_no_seed() -> None:
    with serving(says(" more", "length")) as server, client(server) as asked:
        assert asked.complete(["some"], max_tokens=2) == [Reply(" more", "length")]
    path, body, _ = server.requests[0]
    assert path == "/v1/completions"
    assert body == {"model": "m", "prompt": "some", "temperature": 0.0, "max_tokens": 2}


def test_the_key_and_further_fields_are_sent() -> None:
    with serving(says("x")) as server, client(server, api_key="k") as asked:
        asked.chat(ask("a"), extra={"chat_template_kwargs": {"guideline": "g"}})
    _, body, headers = server.requests[0]
    assert {name.lower(): value for name, value in headers.items()}["authorization"] == "Bearer k"
    assert body["chat_template_kwargs"] == {"guideline": "g"}


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_faults_are_tried_again(status: int) -> None:
    with serving(says("at last")) as server, client(server, retries=2) as asked:
        server.failures = [status, status]
        assert asked.chat(ask("a"))[0].text == "at last"
    assert len(server.requests) == 3


def test_a_fault_that_does_not_pass() -> None:
    with serving(says("x")) as server, client(server, retries=1) as asked:
        server.failures = [503] * 9
        with pytest.raises(ServerError, match=r"503.*made to fail.*tried 2 times"):
            asked.chat(ask("a"))
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("status", "remedy"), [(400, "request itself"), (401, "key="), (404, "knows a model «m»")]
)
def test_other_faults_are_not_tried_again(status: int, remedy: str) -> None:
    with serving(says("x")) as server, client(server) as asked:
        server.failures = [status]
        with pytest.raises(ServerError, match=remedy):
            asked.chat(ask("a"))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer", ["<html>hello</html>", {"choices": []}, {"choices": [{"message": {"content": 3}}]}]
)
def test_a_server_of_another_kind(answer: Any) -> None:
    with (
        serving(lambda *_: answer) as server,
        client(server) as asked,
        pytest.raises(ServerError, match="OpenAI protocol"),
    ):
        asked.chat(ask("a"))


def test_reasoning_alone_is_an_empty_reply_and_a_refusal_is_text() -> None:
    with serving(says(None, "length", reasoning_content="hm")) as server, client(server) as asked:
        assert asked.chat(ask("a")) == [Reply("", "length")]
    with serving(says(None, refusal="I can't.")) as server, client(server) as asked:
        assert asked.chat(ask("a")) == [Reply("I can't.", "stop")]


def test_the_other_name_of_the_limit_is_learnt() -> None:
    def strict(path: str, body: dict[str, Any]) -> Any:
        assert "max_completion_tokens" in body
        return says("x")(path, body)

    with serving(strict) as server, client(server, concurrency=1) as asked:
        original = server.handle

        def handle(path: str, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, Any]:
            if "max_tokens" in body:
                return 400, {"error": {"message": "use max_completion_tokens instead"}}
            return original(path, body, headers)

        server.handle = handle  # type: ignore[method-assign]
        assert asked.chat(ask("a"), max_tokens=3)[0].text == "x"
    assert server.requests[0][1]["max_completion_tokens"] == 3


def test_nothing_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ServerError, match=r"can't be reached \(3 tries\)"):
        OpenAIClient(url, "m", retries=2).chat(ask("a"))


def test_an_answer_too_late() -> None:
    with serving(says("x")) as server, client(server, timeout=0.05, retries=1) as asked:
        server.delay = 0.3
        with pytest.raises(ServerError, match=r"in time, 2 times.*longer timeout"):
            asked.chat(ask("a"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000/v1"),
        ("http://h/v1/", "http://h/v1"),
        ("https://h/api/v3/chat/completions", "https://h/api/v3"),
    ],
)
def test_urls(given: str, expected: str) -> None:
    assert base_url(given) == expected


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://h", "http://", "", "http://[bad"])
def test_no_url(url: str) -> None:
    with pytest.raises(SettingsError, match="not a server's URL"):
        base_url(url)


def test_numbers_out_of_range() -> None:
    with pytest.raises(SettingsError, match="concurrency"):
        OpenAIClient("http://h", "m", concurrency=0)


def test_nothing_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", "secret")
    with serving(says("x")) as server, client(server) as asked:
        asked.chat(ask("a"))
    assert "secret" not in str(server.requests[0][2])
