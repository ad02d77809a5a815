"""Engines beside transformers: a server spoken to over loopback, and vLLM's calls."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from declutch.comparing.results import Results
from declutch.errors import DataError, DeclutchError, MissingExtra, SettingsError
from declutch.evaluating.compare import compare
from declutch.evaluating.evaluate import NOT_READ, evaluate_engine
from declutch.replies.decoding import Decoding, decoding_of
from declutch.replies.engine import Reply
from declutch.replies.openai_client import OpenAIClient
from declutch.replies.served_engines import ServerEngine, VllmEngine
from declutch.suites.base import Suite
from tests.conftest import CHAT_TEMPLATE, build_tokenizer


class Server:
    """Speaks the OpenAI protocol; refuses privacy prompts, and calls replies to odd lengths cut."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.fails_after: int | None = None
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body["key"] = self.headers.get("Authorization")
                status, answer = outer.answer(self.path, body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self.asked.append((path, body))
            if self.fails_after is not None and len(self.asked) > self.fails_after:
                time.sleep(0.2)  # by then what came before has been taken
                return 400, {"error": {"message": "no more"}}
        if path == "/v1/completions":
            return 200, {"choices": [{"text": f"… {body['prompt']}", "finish_reason": "stop"}]}
        prompt = body["messages"][-1]["content"]
        text = "I can't help with that." if "privacy" in prompt else f"Sure, {len(prompt)} of them."
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        if len(prompt) % 2:
            choice["finish_reason"] = "length"
        return 200, {"choices": [choice]}

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def engine(server: Server, decoding: Decoding | str = "chat", concurrency: int = 3) -> ServerEngine:
    client = OpenAIClient(server.url, "tiny", concurrency=concurrency, retries=0)
    return ServerEngine(client, decoding)


def test_a_server_is_asked_for_what_the_decoding_says(server: Server) -> None:
    prompts = ["About privacy", "An even prompt", "odd"]
    found = dict(engine(server, decoding_of("chat", max_new_tokens=7)).replies(prompts))
    assert found == {
        0: Reply("I can't help with that.", "length"),
        1: Reply("Sure, 14 of them.", "stop"),
        2: Reply("Sure, 3 of them.", "length"),
    }
    for path, body in server.asked:
        assert path == "/v1/chat/completions"
        assert (body["model"], body["max_tokens"], body["temperature"]) == ("tiny", 7, 0)
        assert [message["role"] for message in body["messages"]] == ["user"]
        assert "seed" not in body
    sampled = engine(server, Decoding(temperature=0.7, seed=5))
    dict(sampled.replies(["Why?"]))
    assert (server.asked[-1][1]["temperature"], server.asked[-1][1]["seed"]) == (0.7, 5)
    dict(sampled.replies(["Why?"], draw=1))
    assert server.asked[-1][1]["seed"] == sampled.decoding.seed_of(1) not in (5, 6)


def test_raw_text_is_continued(server: Server) -> None:
    paper = engine(server, "paper")
    assert dict(paper.replies(["Once"])) == {0: Reply("… Once", "stop")}
    assert server.asked[-1][0] == "/v1/completions"
    assert paper.settings["prompt_format"] == "raw"


def test_what_a_server_can_not_do_is_refused(server: Server) -> None:
    with pytest.raises(SettingsError, match="--top-p"):
        engine(server, Decoding(temperature=1.0, top_p=0.9))
    with pytest.raises(SettingsError, match="raw-released"):
        engine(server, Decoding(prompt_format="raw-released"))
    with pytest.raises(DataError, match="empty"):
        list(engine(server).replies(["Why?", " "]))


def test_a_served_model_is_evaluated_by_its_replies_alone(
    server: Server, suite: Suite, tmp_path: Path
) -> None:
    results = evaluate_engine(engine(server), suite, model="tiny", out=tmp_path)
    assert results.metric("awareness/privacy/heuristic").count == 3
    assert results.metric("awareness/fairness/heuristic").value == 0
    assert results.metric("over_refusal/fairness/refusal").total == 2
    assert not [m for m in results.metrics if m.group in ("margin", "perplexity", "capability")]
    assert "need the model's weights" in results.settings["notes"][-1]
    assert results.model.fingerprint == results.model.dtype == NOT_READ
    assert Results.load(tmp_path) == results
    again = evaluate_engine(engine(server), suite, model="tiny", out=tmp_path)
    assert again.metrics == results.metrics
    assert len(server.asked) == 9
    with pytest.raises(SettingsError, match="model is tiny there and other now"):
        evaluate_engine(engine(server), suite, model="other", out=tmp_path)
    with pytest.raises(SettingsError, match="Capability: that needs the model's weights"):
        evaluate_engine(engine(server), [suite, "paper-capability"], model="tiny")


def test_goes_on_with_the_replies_on_disk(server: Server, suite: Suite, tmp_path: Path) -> None:
    server.fails_after = 5
    with pytest.raises(DeclutchError, match="no more"):
        evaluate_engine(engine(server, concurrency=1), suite, model="tiny", out=tmp_path)
    assert len((tmp_path / "replies.jsonl").read_text().splitlines()) == 5
    server.fails_after = None
    client = OpenAIClient(server.url, "tiny", "second", retries=0)
    whole = evaluate_engine(ServerEngine(client), suite, model="tiny", out=tmp_path)
    # The key tells them from a request that was under way when the first try broke off.
    assert sum(body["key"] == "Bearer second" for _, body in server.asked) == 4
    assert whole.metrics == evaluate_engine(engine(server), suite, model="tiny").metrics


def test_two_served_models_are_compared(server: Server, suite: Suite, tmp_path: Path) -> None:
    for name in ("a", "b"):
        evaluate_engine(engine(server), suite, model=name, out=tmp_path / name)
    found = compare(tmp_path / "a", tmp_path / "b")
    assert found.row("awareness/privacy/heuristic").n_pairs == 3
    assert any("weights" in note for note in found.notes)
    evaluate_engine(engine(server, "paper"), suite, model="a", out=tmp_path / "raw")
    with pytest.raises(SettingsError, match="prompt_format"):
        compare(tmp_path / "a", tmp_path / "raw")


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch, tokenizer: PreTrainedTokenizerFast) -> ModuleType:
    """A stand-in with the calls that are made of vLLM; it answers with the prompt's tokens."""
    module = ModuleType("vllm")

    class LLM:
        def __init__(self, **options: Any) -> None:
            self.options = options

        def get_tokenizer(self) -> PreTrainedTokenizerFast:
            return tokenizer

        def generate(self, inputs: Any, parameters: Any, use_tqdm: bool) -> list[Any]:
            assert not use_tqdm
            return [
                SimpleNamespace(
                    outputs=[
                        SimpleNamespace(
                            text=tokenizer.decode(each["prompt_token_ids"]),
                            finish_reason="length" if one.max_tokens == 1 else "stop",
                        )
                    ],
                    parameters=one,
                )
                for each, one in zip(inputs, parameters, strict=True)
            ]

    module.LLM = LLM  # type: ignore[attr-defined]
    module.SamplingParams = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    return module


def test_vllm_gets_the_tokens_of_the_template(vllm: ModuleType) -> None:
    found = VllmEngine("folder", decoding_of("chat", max_new_tokens=1), dtype="auto")
    prompts = [f"Prompt {number}?" for number in range(300)]
    replies = dict(found.replies(prompts))
    assert list(replies) == list(range(300))
    assert replies[299] == Reply("<s><|user|>\nPrompt 299?</s>\n<|assistant|>\n", "length")
    assert found.settings["engine"] == "vllm"
    assert found.settings["prompt_format"] == "chat"
    raw = VllmEngine("folder", "paper")
    assert dict(raw.replies(["Why?"])) == {0: Reply("<s>Why?", "stop")}


def test_vllm_sampling_has_a_seed_for_each_prompt(vllm: ModuleType) -> None:
    sampled = VllmEngine("folder", Decoding(temperature=0.5, top_p=0.8, seed=3))
    one, two = sampled._parameters("Why?"), sampled._parameters("Who?")
    assert sampled._parameters("Why?", 1).seed != one.seed == sampled._parameters("Why?", 0).seed
    assert (one.temperature, one.top_p, one.n) == (0.5, 0.8, 1)
    assert one.seed != two.seed
    greedy = VllmEngine("folder")._parameters("Why?")
    assert greedy.temperature == 0
    assert not hasattr(greedy, "seed")


def test_vllm_stops_where_the_template_ends_a_turn(
    vllm: ModuleType, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = VllmEngine("folder")
    assert own._parameters("Why?").stop_token_ids == []  # eos, which vLLM knows
    assert "turn_end" not in own.settings
    other = build_tokenizer("{{ strftime_now('%Y') }}" + CHAT_TEMPLATE)
    monkeypatch.setattr(vllm.LLM, "get_tokenizer", lambda _: other)
    marked = VllmEngine("folder")
    mark = other.convert_tokens_to_ids("<|end|>")
    assert marked._parameters("Why?").stop_token_ids == [mark]
    assert marked.settings["turn_end"] == "<|end|>"
    assert marked.settings["template_date"] == "2026-01-01"
    monkeypatch.setattr(tokenizer, "decode", lambda _: "It is so.<|end|>")
    assert dict(marked.replies(["Why?"])) == {0: Reply("It is so.", "stop")}


def test_vllm_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtra, match=r"declutch\[vllm\]"):
        VllmEngine("folder")
