"""Ports on loopback: finding free ones, and asking whether somebody answers."""

from __future__ import annotations

import errno
import http.client
import secrets
import socket
import ssl
from collections.abc import Iterable
from pathlib import Path

from rucio_inject.domain.errors import LakeError

HOST = "127.0.0.1"
# Nobody is there: that is told at once. Who is there may be busy.
_SECONDS = 30
_LOWEST = 10_000
_GIVEN_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of loopback now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of an earlier run that linger do not keep a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


def any_free(but: Iterable[int] = ()) -> int:
    """A free port, none of `but`.

    A server loads for seconds before it listens: meanwhile the system would give a port of its
    range to whoever connects or listens anywhere. It gives nobody those below.
    """
    taken, room = set(but), _first_given_out() - _LOWEST
    while True:
        port = _LOWEST + secrets.randbelow(room) if room > 0 else _given_out()
        if port not in taken and is_free(port):
            return port


def _first_given_out() -> int:
    """The first port that the system gives out by itself; 0 if it does not tell."""
    try:
        return int(_GIVEN_OUT.read_text().split()[0])
    except FileNotFoundError:
        return 0


def _given_out() -> int:
    """A port that the system gives out."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def choose(wanted: int | None, earlier: int | None, but: Iterable[int] = ()) -> int:
    """The port asked for; else the one of the earlier run while it is free; else any free one.

    LakeError when the port asked for is taken.
    """
    if wanted is not None:
        if not is_free(wanted):
            raise LakeError(
                f"port {wanted} on {HOST} is taken by another program, or may not be used",
                hint=f"see who has it with `ss -ltnp 'sport = :{wanted}'`, name another port with"
                " --port, or leave --port out and a free one is chosen",
            )
        return wanted
    if earlier is not None and earlier not in set(but) and is_free(earlier):
        return earlier
    return any_free(but)


def accepts(port: int) -> bool:
    """Whether a server on this port of loopback takes connections."""
    try:
        with socket.create_connection((HOST, port), timeout=_SECONDS):
            return True
    except OSError:
        return False


def answers(port: int, path: str, trusted: Path | None = None) -> bool:
    """Whether an HTTP server on this port of loopback answers `path` with 200; over TLS if a file
    of trusted authorities is given."""
    if trusted is None:
        connection = http.client.HTTPConnection(HOST, port, timeout=_SECONDS)
    else:
        context = ssl.create_default_context(cafile=str(trusted))
        connection = http.client.HTTPSConnection(HOST, port, timeout=_SECONDS, context=context)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
