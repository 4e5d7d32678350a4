"""What every request has to pass, and what every answer carries."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rucio_inject.ports import Clock
from rucio_inject.web.gate import Doorkeeper, Gate, Session, Sessions

CSRF_FIELD, CSRF_HEADER = "csrf", "x-csrf-token"
LONGEST_FORM = 1024 * 1024  # bytes
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        # Not "no-referrer": browsers then hide from us, too, where a form comes from.
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)


class SignInNeeded(Exception):
    """Nobody is signed in, and the page is not for everybody."""


class Refused(Exception):
    """A request that is not let through: with the status, the reason and what to do, as told."""

    def __init__(
        self,
        status: int,
        reason: str,
        *,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.hint = hint
        self.headers = headers or {}


class Guard:
    """Knows who is signed in, and refuses what may come from another site."""

    def __init__(self, gate: Gate, clock: Clock) -> None:
        self.gate = gate
        self.sessions = Sessions(clock)
        self.doorkeeper = Doorkeeper(gate.token, clock)

    def session(self, request: Request) -> Session:
        """Who asks; of a proxy's users a session is begun with the first request. SignInNeeded if
        nobody is signed in."""
        known = self.sessions.find(request.cookies.get(self.gate.cookie))
        user = self._told_by_proxy(request)
        if known is not None and known.user == user:
            return known
        if user is None:
            # Who came through the proxy may not go on past it.
            raise SignInNeeded
        session = self.sessions.begin(user)
        request.state.new_session = session
        return session

    def _told_by_proxy(self, request: Request) -> str | None:
        proxy = self.gate.proxy
        if proxy is None or not proxy.trusts(address_of(request)):
            return None
        return request.headers.get(proxy.header, "").strip() or None

    def check_write(self, request: Request, session: Session, told: str | None) -> None:
        """Refused unless a request that changes something comes from a page of ours: it has the
        session's CSRF token, and the browser does not say that another site made it."""
        refuse_other_sites(request)
        given = told or request.headers.get(CSRF_HEADER) or ""
        if not hmac.compare_digest(given.encode(), session.csrf.encode()):
            raise Refused(403, "this form is too old, or not ours: load the page again")

    def remember(self, request: Request, response: Response, session: Session) -> None:
        """Give the session's cookie to the browser."""
        response.set_cookie(
            self.gate.cookie,
            session.key,
            path=request.scope.get("root_path") or "/",
            httponly=True,
            samesite="strict",
            secure=self._is_secure(request),
        )

    def _is_secure(self, request: Request) -> bool:
        """Whether the browser speaks https, to us or to the proxy."""
        proxy = self.gate.proxy
        forwarded = proxy is not None and proxy.trusts(address_of(request))
        told = request.headers.get("x-forwarded-proto") if forwarded else None
        return self.gate.secure or told == "https"


def refuse_other_sites(request: Request) -> None:
    """Refused if the browser says that a page of another site made the request."""
    told = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if told is not None:
        others = told not in {"same-origin", "none"}
    else:
        # An older browser, or no https. A proxy may have changed the scheme, and hardly the host.
        others = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if others:
        raise Refused(403, "another site asked for this")


def address_of(request: Request) -> str:
    """Where the connection comes from; nothing that a header says."""
    return request.client.host if request.client else ""


class Harness:
    """Wraps the application: refuses names that are not ours and forms that are too long, and puts
    the headers on that keep a page to itself. `root` is the path below which a proxy shows the
    page, whether or not the proxy takes it off the requests."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], root: str) -> None:
        self._app = app
        self._hosts = hosts
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > LONGEST_FORM:
                raise Refused(413, "that is too long")
            return message

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answered.setdefault(name, value)
                answered.setdefault("Cache-Control", "no-store")
            await send(message)

        if not self._is_ours(headers.get(b"host", b"").decode("latin-1")):
            answer = Response("this page goes by another name\n", 421, media_type="text/plain")
            await answer(scope, receive, dressed)
            return
        await self._app(self._placed(scope), limited, dressed)

    def _placed(self, scope: Scope) -> Scope:
        """The request below the root path."""
        path: str = scope["path"]
        below = path == self._root or path.startswith(f"{self._root}/")
        placed = path if below else self._root + path
        return {**scope, "path": placed, "root_path": self._root}

    def _is_ours(self, host: str) -> bool:
        """A page of another site may have let its name point here."""
        if not self._hosts:
            return True
        name = urlsplit(f"//{host}").hostname or ""
        return name in self._hosts
