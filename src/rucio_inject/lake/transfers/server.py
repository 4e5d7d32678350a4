"""The HTTP door of the transfer service: routes, status codes, and nothing else.

The standard library's threaded server: one thread a connection, kept alive, since it starts in a
fifth of the time of the frameworks at hand and a conveyor holds a handful of connections.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from rucio_inject import __version__
from rucio_inject.domain.errors import LakeError
from rucio_inject.lake.transfers import wire
from rucio_inject.lake.transfers.service import VO, TransferService
from rucio_inject.lake.transfers.store import DuplicateJob

_log = logging.getLogger(__name__)
_LARGEST_BODY = 64 << 20
_IDLE_SECONDS = 120.0
_JOBS = re.compile(r"/jobs/([^/]+)")
_FILES = re.compile(r"/jobs/([^/,]+)/files")

Answer = tuple[int, Any]


class TransferServer(ThreadingHTTPServer):
    """Listens on one loopback address and answers from one TransferService."""

    daemon_threads = True
    # Stopping does not wait for clients that keep a connection open.
    block_on_close = False
    request_queue_size = 128

    def __init__(self, host: str, port: int, service: TransferService) -> None:
        """Listen at once; port 0 takes a free one. LakeError if that cannot be done."""
        self.service = service
        try:
            super().__init__((loopback(host), port), _Handler)
        except (OSError, OverflowError) as error:
            raise LakeError(
                f"the transfer service cannot listen on {host}:{port}: {error}",
                hint="give it a port that is free",
            ) from error

    def server_bind(self) -> None:
        """Bind without asking for the host's name: a slow resolver would hold the start."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Called by the base class for whatever a request raised."""
        if isinstance(sys.exception(), ConnectionError | TimeoutError):
            _log.info("a client of the transfer service went away")
        else:
            _log.error("a request to the transfer service failed", exc_info=True)


def loopback(host: str) -> str:
    """The IPv4 loopback address that `host` names. LakeError if it is anything else: the service
    has no sign-in."""
    refused = LakeError(
        f"the transfer service listens on loopback only, not on {host!r}",
        hint="use --host 127.0.0.1",
    )
    try:
        address = ipaddress.IPv4Address("127.0.0.1" if host == "localhost" else host)
    except ValueError as no_address:
        raise refused from no_address
    if not address.is_loopback:
        raise refused
    return str(address)


class _Handler(BaseHTTPRequestHandler):
    """Reads a request, finds its route, writes the answer in one piece."""

    server: TransferServer
    protocol_version = "HTTP/1.1"
    server_version = f"rucio-inject-transfers/{__version__}"
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Jobs, their files, and what this service is."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """A new job, or another priority."""
        self._answer(lambda: self._post(self._body()))

    def do_DELETE(self) -> None:
        """The end of jobs."""
        self._answer(self._delete)

    def _get(self) -> Answer:
        service = self.server.service
        parts = urlsplit(self.path)
        if parts.path in {"", "/"}:
            return 200, _about(service)
        if parts.path == "/whoami":
            return 200, _whoami(service)
        if listing := _FILES.fullmatch(parts.path):
            job_id = unquote(listing[1])
            job = service.find([job_id]).get(job_id)
            if job is None:
                return 404, wire.job_lost(job_id)
            return 200, [wire.file_found(file) for file in job.files]
        if job_ids := self._job_ids(parts.path):
            wanted = parse_qs(parts.query).get("files")
            fields = None if wanted is None else ",".join(wanted).split(",")
            found = service.find(job_ids)
            return _one_or_list(
                [
                    wire.job_found(found[job_id], fields)
                    if job_id in found
                    else wire.job_lost(job_id)
                    for job_id in job_ids
                ]
            )
        return self._no_route()

    def _post(self, body: bytes) -> Answer:
        service = self.server.service
        path = urlsplit(self.path).path
        if path == "/jobs":
            return 200, {"job_id": service.submit(wire.read_job(body))}
        job_ids = self._job_ids(path)
        if len(job_ids) == 1:
            job = service.set_priority(job_ids[0], wire.read_priority(body))
            if job is None:
                return 404, wire.job_lost(job_ids[0])
            return 200, wire.job_found(job, ())
        return self._no_route()

    def _delete(self) -> Answer:
        job_ids = self._job_ids(urlsplit(self.path).path)
        if not job_ids:
            return self._no_route()
        found = self.server.service.cancel(job_ids)
        return _one_or_list(
            [
                wire.job_found(found[job_id], ()) if job_id in found else wire.job_lost(job_id)
                for job_id in job_ids
            ]
        )

    def _no_route(self) -> Answer:
        return 404, _message(404, f"{self.command} {self.path} is not served here")

    @staticmethod
    def _job_ids(path: str) -> Sequence[str]:
        """The ids in `/jobs/ID[,ID…]`, each once, in order; none if it is another path."""
        match = _JOBS.fullmatch(path)
        ids = unquote(match[1]).split(",") if match else []
        return list(dict.fromkeys(job_id for job_id in ids if job_id))

    def _body(self) -> bytes:
        # Other types are what a web page may send to a loopback port without being asked.
        if self.headers.get_content_type() != "application/json":
            raise wire.BadRequest("the body must be of the type application/json")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self.close_connection = True
            raise wire.BadRequest("Content-Length is missing, or is no number")
        if int(length) > _LARGEST_BODY:
            self.close_connection = True
            raise wire.BadRequest(f"the body is larger than {_LARGEST_BODY} bytes")
        return self.rfile.read(int(length))

    def _answer(self, work: Callable[[], Answer]) -> None:
        """Do the work, and turn what it cannot do into a status and a message."""
        try:
            self._check_host()
            status, content = work()
        except wire.BadRequest as wrong:
            # The body may not have been read: the next request must not begin in it.
            self.close_connection = True
            status, content = 400, _message(400, str(wrong))
        except DuplicateJob as known:
            status, content = 409, _message(409, f"the job {known} was submitted before")
        except sqlite3.Error as error:
            _log.error("the state file cannot be used: %s", error)
            status, content = 503, _message(503, f"the state file cannot be used: {error}")
        self._send(status, json.dumps(content).encode())

    def _check_host(self) -> None:
        """A web page may have pointed its own name to this address; such a name is refused."""
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in {"localhost", self.server.server_address[0]}:
            raise wire.BadRequest(f"the host {host!r} is not served here")

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        # The base class collects the headers in this buffer; one packet for all of it.
        self._headers_buffer: list[bytes]
        self._headers_buffer.append(b"\r\n" + body)
        self.flush_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Called by the base class for each request and each malformed one."""
        _log.debug(format, *args)


def _one_or_list(jobs: list[dict[str, Any]]) -> Answer:
    """One job is given bare, several as a list; 207 says that some are not known."""
    lost = [job for job in jobs if job["http_status"] != "200 Ok"]
    if len(jobs) == 1:
        return (404 if lost else 200), jobs[0]
    return (207 if lost else 200), jobs


def _message(status: int, text: str) -> dict[str, Any]:
    return {"status": status, "message": text}


def _about(service: TransferService) -> dict[str, Any]:
    waiting, active = service.counts()
    return {
        "service": "rucio-inject transfers",
        "version": __version__,
        "pid": os.getpid(),
        "files": {"waiting": waiting, "active": active},
    }


def _whoami(service: TransferService) -> dict[str, Any]:
    return {
        "base_id": service.base_id,
        "vos": [VO],
        "vos_id": [service.base_id],
        "roles": [],
        "method": "loopback",
        "user_dn": None,
        "is_root": False,
    }
