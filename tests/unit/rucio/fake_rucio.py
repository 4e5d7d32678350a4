"""A server that plays Rucio, or something in front of it, to the real Rucio client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

JSON = "application/json"
STREAM = "application/x-json-stream"


@dataclass(frozen=True)
class Answer:
    """What the server answers: status, body and headers; no content type if it is empty."""

    body: bytes = b""
    kind: str = JSON
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: object) -> Answer:
        """One JSON value."""
        return cls(json.dumps(value).encode())

    @classmethod
    def stream(cls, *values: object) -> Answer:
        """Rucio's stream of JSON values, one a line."""
        return cls("".join(f"{json.dumps(value)}\n" for value in values).encode(), STREAM)

    @classmethod
    def error(cls, kind: str, status: int, message: str = "so it is") -> Answer:
        """An error as Rucio tells it."""
        headers = {"ExceptionClass": kind, "ExceptionMessage": message}
        return cls(b"", "", status, headers)


class FakeServer:
    """Answers each path as it was told to, and all others with `default`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.default = Answer.error("RucioException", 400, "nothing was prepared")
        self.answers: dict[str, Answer] = {
            "/auth/userpass": Answer(kind="", headers={"X-Rucio-Auth-Token": "token"})
        }
        self.asked: list[str] = []

    def answer(self, path: str) -> Answer:
        """The answer to a path, without its query."""
        found = urlsplit(path).path
        self.asked.append(found)
        return self.answers.get(found, self.default)


@contextmanager
def serving() -> Iterator[FakeServer]:
    """The server, on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = fake.answer(self.path)
            self.send_response(answer.status)
            headers = {**answer.headers, "Content-Length": str(len(answer.body))}
            if answer.kind:
                headers["Content-Type"] = answer.kind
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_POST = do_PUT = do_GET  # noqa: N815 (the names that http.server looks for)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake = FakeServer(f"http://127.0.0.1:{listener.server_port}")
    thread = Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()
