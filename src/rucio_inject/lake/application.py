"""Rucio's REST application as the lake's gunicorn serves it: loaded once, shared by its workers."""

from __future__ import annotations

import gc
import ssl
from collections.abc import Callable, Iterable
from typing import Any

from rucio.db.sqla.session import get_engine
from rucio.web.rest.flaskapi.v1.main import application as rucio

from rucio_inject.lake import memory

memory.install()
# While it is loaded Rucio asks its database: workers that shared this connection would mix their
# answers, so each opens its own.
get_engine().dispose()
# A call with hundreds of files makes some hundred thousand objects, which are all gone soon.
gc.set_threshold(50_000, 20, 20)

# How names of certificates are written where Rucio looks for them; others stay as they are.
_SHORT = {"organizationName": "O", "commonName": "CN", "domainComponent": "DC"}


def _subject(connection: object) -> str | None:
    """The name in a client's certificate, which TLS has checked; None without one."""
    if not isinstance(connection, ssl.SSLSocket):
        return None
    told: Any = connection.getpeercert() or {}
    pairs = [pair for part in told.get("subject", ()) for pair in part]
    return "".join(f"/{_SHORT.get(name, name)}={value}" for name, value in pairs) or None


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one request (WSGI). What an earlier one has looked up is looked up anew."""
    memory.forget()
    if subject := _subject(environ.get("gunicorn.socket")):
        environ["SSL_CLIENT_S_DN"] = subject
    answer: Iterable[bytes] = rucio(environ, start_response)
    return answer
