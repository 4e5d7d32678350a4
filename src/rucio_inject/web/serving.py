"""The page on a port: where it listens, for whom, and how it comes to its end."""

from __future__ import annotations

import errno
import logging
import socket
import stat
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from rucio_inject.domain.errors import UsageError
from rucio_inject.ports import Clock
from rucio_inject.ports.board import Board
from rucio_inject.web.app import make_app
from rucio_inject.web.gate import Gate, Proxy, new_token

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SHORTEST_TOKEN = 16
_START_SECONDS = 300.0
# Longer than people read: who asks on a connection that is just being closed hears nothing.
_KEEP_SECONDS = 120
_STOP_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Listening:
    """Where and for whom the page is, as options have it. `port` 0: any that is free;
    `root_path`: where a proxy shows it; `proxy_header` and `trust`: see `gate.Proxy`;
    `certificate` and `key`: PEM files for https; `token_file` holds the token, else one is made."""

    host: str = "127.0.0.1"
    port: int = 8080
    root_path: str = ""
    proxy_header: str | None = None
    trust: Sequence[str] = ()
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_secure(self) -> bool:
        """Whether it speaks https itself."""
        return self.certificate is not None

    def gate(self) -> Gate:
        """How people sign in. UsageError for what would let others read along, or in."""
        if (self.certificate is None) != (self.key is None):
            raise UsageError(
                "https needs a certificate and its key",
                hint="give both --tls-certificate and --tls-key",
            )
        if self.root_path and not self.root_path.startswith("/"):
            raise UsageError(
                f"the root path {self.root_path!r} does not begin with /", hint="as in /inject"
            )
        proxy = Proxy.of(self.proxy_header, self.trust) if self.proxy_header else None
        if not self.is_loopback and not self.is_secure and proxy is None:
            raise UsageError(
                f"{self.host} can be reached from other machines, and the token would travel there "
                "in plain text",
                hint="let a proxy with https sign people in (--proxy-header, --trust), give "
                "--tls-certificate and --tls-key, or listen on 127.0.0.1 and use an ssh tunnel",
            )
        return Gate(
            token=_token(self.token_file),
            proxy=proxy,
            by_token=self.is_loopback or self.is_secure,
            hosts=LOOPBACK | {self.host} if self.is_loopback and proxy is None else frozenset(),
            secure=self.is_secure,
        )


def _token(file: Path | None) -> str:
    if file is None:
        return new_token()
    try:
        if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UsageError(
                f"others may read the token in {file}", hint=f"mend that: chmod 600 {file}"
            )
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the token in {file} cannot be read: {error}") from error
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise UsageError(
            f"the token in {file} is too short, or no plain text",
            hint=f"at least {SHORTEST_TOKEN} characters: openssl rand -hex 16 > {file}",
        )
    return token


class PageServer:
    """The page, served by a thread of its own while the block lasts.

    UsageError at its beginning if the port cannot be had, or the options would be unsafe.
    """

    def __init__(self, board: Board, listening: Listening, clock: Clock) -> None:
        self._listening = listening
        self._gate = listening.gate()
        app: ASGIApp = make_app(board, self._gate, clock, root_path=listening.root_path)
        config = _config(app, listening)
        try:
            config.load()
        except OSError as error:
            raise UsageError(
                f"the certificate {listening.certificate} or its key cannot be used: {error}",
                hint="name PEM files that this process may read",
            ) from error
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        """Listen."""
        self._socket = _bound(self._listening)
        self._thread.start()
        self._server.begun.wait(_START_SECONDS)
        if not self._server.started:
            raise UsageError("the page did not come up", hint="its reason is on standard error")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Answer what was asked, and listen no more."""
        self._server.should_exit = True
        self._thread.join()
        if self._socket is not None:
            self._socket.close()

    def _run(self) -> None:
        assert self._socket is not None
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._server.begun.set()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._socket is not None
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Where it is, as seen from this machine."""
        scheme = "https" if self._listening.is_secure else "http"
        host = self._listening.host
        shown = f"[{host}]" if ":" in host else host
        return f"{scheme}://{shown}:{self.port}{self._listening.root_path.rstrip('/')}/"

    @property
    def sign_in_url(self) -> str | None:
        """An address that signs in whoever opens it, to be printed once; None if the proxy alone
        signs people in. The token stands behind #, and so is in no log."""
        if not self._gate.by_token:
            return None
        return f"{self.url}sign-in#token={self._gate.token}"


class _Server(uvicorn.Server):
    """Tells when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        self.begun.set()


def _config(app: ASGIApp, listening: Listening) -> uvicorn.Config:
    # What headers say of where a request comes from is nothing to go by; see `gate.Proxy`.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    return uvicorn.Config(
        app,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        access_log=False,
        log_config=None,
        lifespan="on",
        ws="none",
        timeout_keep_alive=_KEEP_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
        ssl_certfile=listening.certificate,
        ssl_keyfile=listening.key,
    )


def _bound(listening: Listening) -> socket.socket:
    host, port = listening.host, listening.port
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address, family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason, hint = "it is in use", "name another one with --port, or 0 for any that is free"
        elif error.errno == errno.EACCES:
            reason, hint = "that needs more rights", "name a port above 1023 with --port"
        else:
            reason, hint = error.strerror or str(error), "name another address with --host"
        raise UsageError(f"cannot listen on {host} port {port}: {reason}", hint=hint) from error
