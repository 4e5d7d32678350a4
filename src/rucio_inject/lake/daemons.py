"""Rucio's own daemons: `python -m rucio_inject.lake.daemons`.

This process loads Rucio once and starts a few others by forking, so that what was loaded lies in
memory once; each runs some of the daemons, side by side on several cores. It writes their log and
their report. When it ends, they end; when one of them ends by itself, everything does.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import logging.handlers
import multiprocessing
import os
import signal
import socket
import sys
import time
from dataclasses import asdict
from multiprocessing.connection import Connection, wait
from pathlib import Path

from rucio.core.heartbeat import cardiac_arrest
from rucio.db.sqla.session import get_engine

from rucio_inject.lake import backlog, memory
from rucio_inject.lake.crew import Report, work
from rucio_inject.whole_files import write_durably

CREWS: dict[str, tuple[str, ...]] = {
    "judge": ("injector", "evaluator", "repairer", "undertaker", "cleaner"),
    "submitter": ("submitter", "abacus-rse", "abacus-account", "abacus-collection-replica"),
    "poller": ("poller", "necromancer", "reaper"),
    "finisher": ("finisher",),
}
"""The daemons that share a process, by the busiest of them. What a file needs one after the other,
on its way in or out, is apart. Each runs in one process only: Rucio's workers divide their work by
who lives beside them, and single passes come and go."""

NICENESS = {"judge": 9, "submitter": 6, "poller": 3}
"""What is nearer to a file's end goes before what begins with others, and the server's answers
before all: on few cores the finisher, which has the most to do, would be what waits to the last."""

_END_SECONDS = 5.0
_log = logging.getLogger("rucio_inject.lake.daemons")


class Supervisor:
    """The processes, and what they tell."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self._lines: dict[Connection, str] = {}
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._reports: dict[str, Report] = {}

    def start(self, crews: dict[str, tuple[str, ...]]) -> None:
        """Fork a process for each crew."""
        forking = multiprocessing.get_context("fork")
        for name, daemons in crews.items():
            ours, theirs = forking.Pipe()
            process = forking.Process(
                target=_begin, args=(name, daemons, theirs, [ours, *self._lines]), name=name
            )
            process.start()
            theirs.close()
            self._lines[ours] = name
            self._processes.append(process)

    def run(self, bell: socket.socket) -> bool:
        """Listen until something can be read from `bell`; False if a process ended before."""
        while True:
            for ready in wait([bell, *self._lines]):
                if not isinstance(ready, Connection):
                    return True
                try:
                    self._heard(self._lines[ready], ready.recv())
                except EOFError:
                    _log.error("the process of the %s has ended", self._lines[ready])
                    return False

    def stop(self) -> None:
        """End the lines, and wait until the processes have finished their passes."""
        for line in self._lines:
            line.close()
        deadline = time.monotonic() + _END_SECONDS
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            # In a long pass: what it has not committed is done again after the next start.
            process.kill()

    def _heard(self, name: str, message: logging.LogRecord | Report) -> None:
        if isinstance(message, Report):
            self._reports[name] = message
            if len(self._reports) == len(self._lines):
                self._write_report()
        else:
            logging.getLogger().handle(message)

    def _write_report(self) -> None:
        failures: dict[str, int] = {}
        for report in self._reports.values():
            for daemon, count in report.failures.items():
                failures[daemon] = failures.get(daemon, 0) + count
        last = [report.last_failure for report in self._reports.values() if report.last_failure]
        told = {
            "pid": os.getpid(),
            "crews": {name: asdict(report) for name, report in self._reports.items()},
            "failures": failures,
            "last_failure": last[-1] if last else None,
        }
        write_durably(self._report, (json.dumps(told, indent=2) + "\n").encode())


def _begin(crew: str, daemons: tuple[str, ...], line: Connection, others: list[Connection]) -> None:
    """A new process begins: the supervisor's ends of the lines are its alone, or none would end."""
    for other in others:
        other.close()
    os.nice(NICENESS.get(crew, 0))
    work(daemons, line)


def _prepare() -> None:
    """Forget what daemons of an earlier run, that were killed, held on to."""
    cardiac_arrest()
    given_up = backlog.give_up_interrupted_submissions()
    if given_up:
        _log.warning("%d interrupted submissions are tried again", given_up)
    # Processes that shared a connection would mix their answers: each opens its own.
    get_engine().dispose()


def _is_news(record: logging.LogRecord) -> bool:
    """Not what the reaper says of every RSE without a size, at every pass."""
    return not record.getMessage().endswith("Will only delete obsolete")


def _log_to(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=10_000_000, backupCount=2)
    form = "%(asctime)s %(levelname)s %(name)s %(message)s"
    handler.addFilter(_is_news)
    handler.setFormatter(logging.Formatter(form))
    handler.formatter.converter = time.gmtime  # type: ignore[union-attr]
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    _log.setLevel(logging.INFO)


def _ring_on_signals() -> socket.socket:
    """A socket that becomes readable when somebody asks us to stop.

    Python writes the signal's number to it, nothing else: a handler that set an Event could hang
    in the lock that the loop holds.
    """
    bell, rope = socket.socketpair()
    rope.setblocking(False)  # noqa: FBT003  the standard library's own signature
    signal.set_wakeup_fd(rope.detach())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return bell


def main() -> int:
    """Run until SIGTERM; 1 if a process ended before."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--hermes", action="store_true")
    arguments = parser.parse_args()
    bell = _ring_on_signals()
    _log_to(arguments.log)
    memory.install()
    _prepare()
    # Rucio's tables and classes stay for good: looking through them for garbage is lost time, and
    # would copy what the processes have in common.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    crews = CREWS | ({"hermes": ("hermes",)} if arguments.hermes else {})
    supervisor = Supervisor(arguments.report)
    supervisor.start(crews)
    _log.info("running %s", ", ".join(name for daemons in crews.values() for name in daemons))
    asked = supervisor.run(bell)
    supervisor.stop()
    _log.info("stopped")
    return 0 if asked else 1


if __name__ == "__main__":
    sys.exit(main())
