"""Hearing Rucio's events: what hermes posts as newline-delimited JSON rings a bell.

Nothing is believed of what is heard: it only makes a wait shorter, and Rucio is then asked.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from typing import Any, Self

from rucio_inject.domain.errors import UsageError

MOST_BYTES = 64_000_000
_PATIENCE = 10.0
# By these a rule may be OK, or a replica gone. RULE_OK comes only of rules that were made to
# notify, so the transfers that make it so count, too.
_HEARD = frozenset(
    {"rule_ok", "datasetlock_ok", "transfer-done", "transfer-failed", "deletion-done"}
)


def scopes(body: bytes) -> frozenset[str]:
    """The scopes that some events are about, of kinds that somebody may wait for."""
    found = set()
    for line in body.splitlines():
        try:
            event = json.loads(line)
            kind, payload = str(event["event_type"]).lower(), event["payload"]
            # hermes itself leaves a payload as text in some versions.
            known = json.loads(payload) if isinstance(payload, str) else payload
            if kind in _HEARD:
                found.add(str(known["scope"]))
        except (ValueError, KeyError, TypeError):
            continue
    return frozenset(found)


class EventServer:
    """Listens for events in threads of its own, and tells the scopes that they are about."""

    def __init__(self, place: tuple[str, int], heard: Callable[[frozenset[str]], None]) -> None:
        """UsageError if nobody can listen there."""
        host, port = place
        server = _Server6 if ":" in host else _Server
        try:
            self._server = server(place, heard)
        except OSError as error:
            raise UsageError(
                f"cannot listen for events at {host}:{port}: {error.strerror or error}",
                hint="name another port in push.listen, and tell hermes",
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="events", daemon=True
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    address_family = AF_INET
    daemon_threads = True

    def __init__(self, place: tuple[str, int], heard: Callable[[frozenset[str]], None]) -> None:
        self.heard = heard
        super().__init__(place, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Somebody hung up: nothing rests on it."""


class _Server6(_Server):
    address_family = AF_INET6


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE

    def do_POST(self) -> None:
        """Take events."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            self.close_connection = True
            self._answer(413)
            return
        found = scopes(self.rfile.read(int(length)))
        if found:
            self.server.heard(found)
        self._answer(200)

    def _answer(self, code: int) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base class's name
        """Nothing."""
