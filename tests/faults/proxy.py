"""A fault proxy between the command and Rucio's server: it does to requests what a plan says."""

from __future__ import annotations

import http.client
import json
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}
_PAGE = b"<html><body><h1>Down for maintenance</h1></body></html>"
_PATIENCE = 150.0


class Kind(StrEnum):
    """What can happen to a request."""

    ERROR = "5xx"
    """Answered 500, 502 or 503; not passed on."""
    RESET = "reset"
    """The connection is reset; not passed on."""
    LOST = "lost answer"
    """Passed on, so the effect happened; then the connection is reset and nobody hears of it."""
    LATE = "late answer"
    """Passed on; the answer comes after `seconds`, when the client has given up."""
    CUT = "cut body"
    """Passed on; the connection ends in the middle of the body."""
    SHORT = "short body"
    """Passed on; half of the body comes, and says of itself that it is all."""
    FEWER = "fewer lines"
    """Passed on; of a stream of JSON lines the first half comes, as if it were all: what a gateway
    makes of a server that dies amid an answer of unknown length. Other answers come whole."""
    PAGE = "HTML page"
    """Passed on; the answer is an HTML page with 200, as a gateway gives."""
    EXPIRED = "expired token"
    """Not passed on: 401, and the same for that token from then on."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of fault and which requests it meets.

    `path` is a regular expression searched in "METHOD /path"; `limit` is how often at most for
    each endpoint (the method and the first two words of the path); `after` is how many requests
    are passed on before it is looked for; `seconds` is how long a LATE answer takes.
    """

    kind: Kind
    probability: float = 1.0
    path: str = ""
    limit: int | None = None
    after: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


Hook = Callable[[int, str, bool], None]
"""Called with a request's number (from 1), its "METHOD /path", and whether it was passed on."""


class FaultProxy:
    """A reverse proxy on loopback. The same seed, plan and requests give the same faults."""

    def __init__(self, upstream: str, seed: str) -> None:
        place = urlsplit(upstream)
        assert place.hostname is not None
        self._upstream = (place.hostname, place.port or 80)
        self._draw = random.Random(seed)
        self._lock = threading.Lock()
        self._plan: tuple[Trouble, ...] = ()
        self._followed = 0
        self._met: Counter[tuple[int, str]] = Counter()
        self._dead_tokens: set[str] = set()
        self.hook: Hook | None = None
        self.counts: Counter[Kind] = Counter()
        self.requests = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def follow(self, *plan: Trouble) -> None:
        """Do this to requests from now on; with no plan, pass all of them on unharmed."""
        with self._lock:
            self._plan = plan
            self._followed = self.requests
            self._met.clear()
            self._dead_tokens.clear()

    def arrived(self) -> int:
        """Count a request; its number."""
        with self._lock:
            self.requests += 1
            return self.requests

    def trouble(self, what: str, token: str | None) -> Trouble | None:
        """What happens to this request, if anything; it is counted."""
        endpoint = "/".join(what.split("?", maxsplit=1)[0].split("/")[:3])
        with self._lock:
            if token in self._dead_tokens and not _signs_in(what):
                return Trouble(Kind.EXPIRED)
            for number, trouble in enumerate(self._plan):
                if self._meets(trouble, self._met[number, endpoint], what, token):
                    self._met[number, endpoint] += 1
                    self.counts[trouble.kind] += 1
                    return trouble
        return None

    def _meets(self, trouble: Trouble, times: int, what: str, token: str | None) -> bool:
        if trouble.limit is not None and times >= trouble.limit:
            return False
        if self.requests - self._followed <= trouble.after:
            return False
        if not re.search(trouble.path, what) or self._draw.random() >= trouble.probability:
            return False
        if trouble.kind is Kind.EXPIRED:
            if token is None or _signs_in(what):
                return False
            self._dead_tokens.add(token)
        return True

    def error_status(self) -> int:
        """One of the statuses of a server, or a gateway, in trouble."""
        with self._lock:
            return self._draw.choice((500, 502, 503))

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Pass a request on. OSError or http.client.HTTPException if there is no answer."""
        connection = http.client.HTTPConnection(*self._upstream, timeout=_PATIENCE)
        try:
            connection.request(method, path, body or None, dict(headers))
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()


def _signs_in(what: str) -> bool:
    """Rucio's client sends its old token even when it asks for a new one; no server minds."""
    return " /auth/" in what and "/validate" not in what


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: FaultProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that were killed or gave up leave connections behind: that is the point."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Nothing: the counts tell."""

    def _serve(self) -> None:
        proxy = self.server.proxy
        what = f"{self.command} {self.path}"
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        number = proxy.arrived()
        self._call(proxy.hook, number, what, passed=False)
        trouble = proxy.trouble(what, self.headers.get("X-Rucio-Auth-Token"))
        if trouble is not None and self._refused(trouble):
            return
        headers = {name: text for name, text in self.headers.items() if name.lower() not in _HOP}
        try:
            answer = proxy.ask(self.command, self.path, headers, body)
        except (OSError, http.client.HTTPException):
            self._reset()
            return
        self._call(proxy.hook, number, what, passed=True)
        self._deliver(answer, trouble)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve  # noqa: N815

    def _call(self, hook: Hook | None, number: int, what: str, *, passed: bool) -> None:
        if hook is not None:
            hook(number, what, passed)

    def _refused(self, trouble: Trouble) -> bool:
        """Do what happens to a request before it is passed on; whether that was all."""
        if trouble.kind is Kind.ERROR:
            self._answer(self.server.proxy.error_status(), "text/html", b"<h1>Sorry</h1>")
        elif trouble.kind is Kind.RESET:
            self._reset()
        elif trouble.kind is Kind.EXPIRED:
            told = {
                "ExceptionClass": "CannotAuthenticate",
                "ExceptionMessage": "Cannot authenticate with given credentials",
            }
            self._answer(401, "application/json", json.dumps(told).encode(), told)
        else:
            return False
        return True

    def _deliver(self, answer: Answer, trouble: Trouble | None) -> None:
        kind = None if trouble is None else trouble.kind
        if trouble is not None and kind is Kind.LATE:
            time.sleep(trouble.seconds)
        if kind is Kind.LOST:
            self._reset()
        elif kind is Kind.PAGE:
            self._answer(200, "text/html", _PAGE)
        elif kind is Kind.SHORT:
            self._send(answer, answer.body[: len(answer.body) // 2])
        elif kind is Kind.FEWER:
            lines = answer.body.splitlines(keepends=True)
            self._send(answer, b"".join(lines[: len(lines) // 2]) if lines[1:] else answer.body)
        elif kind is Kind.CUT:
            self._send(answer, answer.body[: len(answer.body) // 2], length=len(answer.body) or 2)
            self._reset()
        else:
            self._send(answer, answer.body)

    def _send(self, answer: Answer, body: bytes, *, length: int | None = None) -> None:
        self.send_response(answer.status)
        for name, text in answer.headers:
            if name.lower() not in _HOP:
                self.send_header(name, text)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def _answer(
        self, status: int, media: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        told = [("Content-Type", media), *(headers or {}).items()]
        self._send(Answer(status, told, body), body)

    def _reset(self) -> None:
        """End the connection as a crashed peer does: RST instead of FIN."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()
