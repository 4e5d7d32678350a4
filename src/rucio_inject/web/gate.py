"""Who may look: sign-in by a token, or by a proxy that has signed people in already.

A session lives in memory, so that all end with the process. Whoever guesses tokens is slowed down
by the address that the guesses come from.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from rucio_inject.domain.errors import UsageError
from rucio_inject.ports import Clock

SESSION_SECONDS = 12 * 3600
MOST_SESSIONS = 1000
MOST_ADDRESSES = 10_000
FREE_GUESSES = 5
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 900.0

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy in front of the page that signs people in: the header in which it tells who it is,
    and the networks that it calls from. From elsewhere the header says nothing."""

    header: str
    trusted: Sequence[Network]

    @classmethod
    def of(cls, header: str, trusted: Sequence[str]) -> Proxy:
        """From text, as options have it. UsageError for what is no address or network."""
        if not trusted:
            raise UsageError(
                f"the header {header} would be believed from anybody",
                hint="name the proxy's address, too, as in --trust 127.0.0.1",
            )
        try:
            networks = [ip_network(text, strict=False) for text in trusted]
        except ValueError as error:
            raise UsageError(f"--trust: {error}", hint="as in 127.0.0.1 or 10.1.0.0/16") from None
        return cls(header, networks)

    def trusts(self, address: str) -> bool:
        """Whether a caller is the proxy."""
        try:
            caller = ip_address(address)
        except ValueError:
            # A Unix socket has no address; who may use it is decided by its file's mode.
            return False
        mapped = getattr(caller, "ipv4_mapped", None)
        return any((mapped or caller) in network for network in self.trusted)


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in: `user` by the proxy, None by the token. `csrf` goes into every
    form that changes something."""

    key: str
    user: str | None
    csrf: str
    until: float


class Sessions:
    """Who is signed in. May be used from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: OrderedDict[str, Session] = OrderedDict()
        self._turn = threading.Lock()

    def begin(self, user: str | None) -> Session:
        """A new session; of very many the oldest ends."""
        until = self._clock.monotonic() + SESSION_SECONDS
        session = Session(secrets.token_urlsafe(32), user, secrets.token_urlsafe(32), until)
        with self._turn:
            self._known[_digest(session.key)] = session
            while len(self._known) > MOST_SESSIONS:
                self._known.popitem(last=False)
        return session

    def find(self, key: str | None) -> Session | None:
        """The session of a key, if it goes on."""
        if not key:
            return None
        with self._turn:
            session = self._known.get(_digest(key))
            if session is not None and session.until <= self._clock.monotonic():
                del self._known[_digest(key)]
                return None
            return session

    def end(self, session: Session) -> None:
        """End one."""
        with self._turn:
            self._known.pop(_digest(session.key), None)


def _digest(key: str) -> str:
    # What is looked up in a dictionary takes longer the more of it is right.
    return hashlib.sha256(key.encode()).hexdigest()


class Doorkeeper:
    """Compares tokens, and lets an address that gave wrong ones wait, longer each time."""

    def __init__(self, token: str, clock: Clock) -> None:
        self._token = token.encode()
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._turn = threading.Lock()

    def pause(self, address: str) -> float:
        """Seconds that an address has to wait before it may try again."""
        with self._turn:
            _, until = self._wrong.get(address, (0, 0.0))
            return max(until - self._clock.monotonic(), 0.0)

    def admits(self, address: str, token: str) -> bool:
        """Whether the token is right. While an address has to wait no token is."""
        if self.pause(address):
            return False
        if secrets.compare_digest(token.strip().encode(), self._token):
            with self._turn:
                self._wrong.pop(address, None)
            return True
        with self._turn:
            wrong, _ = self._wrong.pop(address, (0, 0.0))
            tries = wrong + 1
            late = tries - FREE_GUESSES
            pause = min(FIRST_PAUSE * 2 ** min(late, 20), LONGEST_PAUSE) if late >= 0 else 0.0
            self._wrong[address] = tries, self._clock.monotonic() + pause
            if len(self._wrong) > MOST_ADDRESSES:
                self._wrong.popitem(last=False)
        return False


@dataclass(frozen=True, slots=True)
class Gate:
    """How people sign in: by `token`, which is shown to nobody, if `by_token`; and through `proxy`,
    if there is one. `hosts` are the names under which the page may be asked for; empty: any.
    `secure`: it is reached by https alone."""

    token: str
    proxy: Proxy | None = None
    by_token: bool = True
    hosts: frozenset[str] = frozenset()
    secure: bool = False

    @property
    def cookie(self) -> str:
        """The name of the cookie: browsers send the cookies of all ports of a host to each."""
        return f"rucio-inject-{_digest(self.token)[:8]}"


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(24)
