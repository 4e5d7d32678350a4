"""The transfer service as a process: reads its options, puts the parts together, serves.

Exit codes: 0 after SIGTERM or SIGINT; 1 if it cannot start, or after an error that nobody foresaw
(the work goes on after a restart); 2 for wrong options.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import LakeError
from rucio_inject.lake.transfers.copier import Copier
from rucio_inject.lake.transfers.halves import Halves
from rucio_inject.lake.transfers.paths import PathGuard
from rucio_inject.lake.transfers.pool import WorkerPool
from rucio_inject.lake.transfers.posix import PosixCopier
from rucio_inject.lake.transfers.server import TransferServer, loopback
from rucio_inject.lake.transfers.service import TransferService
from rucio_inject.lake.transfers.store import Store
from rucio_inject.lake.transfers.webdav import Credentials, WebdavCopier

_ENDS = {signal.SIGTERM, signal.SIGINT}
_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 0.6
_MOST_WORKERS = 64
_LIGHT_SIZE = 1 << 20
_SWITCH_SECONDS = 0.0002

_log = logging.getLogger("rucio_inject.lake.transfers")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    # Before any thread begins, so that all of them leave the signals to `sigwait`.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    threading.excepthook = _die
    # A copy is many short calls to the system, and after each its thread asks for the interpreter
    # again: with Python's 5 ms, eight workers and a poller mostly wait for one another.
    sys.setswitchinterval(_SWITCH_SECONDS)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    options = _options(arguments)
    try:
        _serve(options)
    except LakeError as error:
        _log.error("%s; %s", error.message, error.hint)
        return 1
    return 0


def _serve(options: argparse.Namespace) -> None:
    loopback(options.host)
    guard = PathGuard(_folders(options.allow_root), _folders(options.allow_roots_in))
    clock = SystemClock()
    store = Store(options.state_dir, fsync=options.fsync)
    copiers: dict[str, Copier] = {"file": PosixCopier(guard, fsync=options.fsync)}
    if options.certificate is not None:
        credentials = Credentials(options.certificate, options.key, options.trust)
        halves = Halves(options.state_dir / "halves.json")
        copiers["davs"] = WebdavCopier(credentials, options.allow_server or [], clock, halves)
    # Waiting for the disk is what light files are worth waiting for together.
    pool = WorkerPool(store, copiers, clock, options.workers, 0 if options.fsync else _LIGHT_SIZE)
    server = TransferServer(options.host, options.port, TransferService(store, pool, clock))
    pool.start()
    threading.Thread(
        target=server.serve_forever, args=(_POLL_SECONDS,), name="http", daemon=True
    ).start()
    _log.info("serving on http://%s:%d", *server.server_address)
    signal.sigwait(_ENDS)
    server.shutdown()
    server.server_close()
    pool.stop(_PATIENCE_SECONDS)
    store.close()


def _folders(roots: Sequence[Path]) -> Sequence[Path]:
    for root in roots:
        if not root.is_dir():
            raise LakeError(f"{root} is not a folder", hint="make the storage's folder first")
    return roots


def _die(failed: threading.ExceptHookArgs) -> None:
    """A worker met an error that nobody foresaw. End the process rather than lose workers one by
    one unseen: what it was doing is on record, and is done again after a restart."""
    kind, error = failed.exc_type, failed.exc_value
    if error is not None:
        _log.critical(
            "the transfer service ends: %s", error, exc_info=(kind, error, failed.exc_traceback)
        )
    logging.shutdown()
    os._exit(1)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m rucio_inject.lake.transfers", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--state-dir", type=Path, required=True, help="where jobs are kept")
    parser.add_argument(
        "--allow-root",
        type=Path,
        default=[],
        action="append",
        metavar="DIR",
        help="a storage folder; nothing outside of these is read or written",
    )
    parser.add_argument(
        "--allow-roots-in",
        type=Path,
        default=[],
        action="append",
        metavar="DIR",
        help="a folder that holds nothing but storage folders",
    )
    parser.add_argument("--certificate", type=Path, help="shown to davs:// servers, with --key")
    parser.add_argument("--key", type=Path, help="the key of --certificate")
    parser.add_argument("--trust", type=Path, help="authorities of the servers")
    parser.add_argument(
        "--allow-server",
        action="append",
        metavar="HOST:PORT",
        help="a davs:// server; no other is spoken to",
    )
    parser.add_argument("--workers", type=int, default=8, help="copies at a time")
    parser.add_argument(
        "--fsync", action="store_true", help="wait for the disk: outlives a power cut, slower"
    )
    options = parser.parse_args(arguments)
    if (options.certificate is None) != (options.key is None or options.trust is None):
        parser.error("--certificate, --key and --trust belong together")
    if not 1 <= options.workers <= _MOST_WORKERS:
        parser.error(f"--workers is from 1 to {_MOST_WORKERS}")
    return options


if __name__ == "__main__":
    sys.exit(main())
