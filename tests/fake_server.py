"""A small server that speaks the OpenAI protocol over loopback."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str, dict[str, Any]], Any]


class FakeServer:
    """What it was asked, and where it listens.

    Attributes:
        failures: statuses that the next requests get before any is answered.
        busiest: the most requests that were under way at once.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.failures: list[int] = []
        self.delay = 0.0
        self.busiest = 0
        self._under_way = 0
        self._lock = threading.Lock()
        self.url = ""

    def handle(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, Any]:
        with self._lock:
            self.requests.append((path, body, headers))
            status = self.failures.pop(0) if self.failures else 200
            self._under_way += 1
            self.busiest = max(self.busiest, self._under_way)
        try:
            time.sleep(self.delay)
            if status != 200:
                return status, {"error": {"message": f"made to fail with {status}"}}
            return 200, self.answer(path, body)
        finally:
            with self._lock:
                self._under_way -= 1


def says(text: str | None, finish: str = "stop", **message: Any) -> Answer:
    """Always the same answer."""

    def answer(path: str, _: dict[str, Any]) -> Any:
        if path.endswith("/chat/completions"):
            choice: dict[str, Any] = {"message": {"role": "assistant", "content": text, **message}}
        else:
            choice = {"text": text}
        return {"choices": [{**choice, "index": 0, "finish_reason": finish}]}

    return answer


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[FakeServer]:
    fake = FakeServer(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, value = fake.handle(self.path, body, dict(self.headers.items()))
            data = (value if isinstance(value, str) else json.dumps(value)).encode()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
