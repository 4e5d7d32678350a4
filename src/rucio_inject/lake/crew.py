"""One of the processes that run Rucio's daemons: a loop of single passes.

It makes the passes in the order in which a file goes through them: the quickest and the smallest
way to run them on one machine, and it needs no change to Rucio.
"""

from __future__ import annotations

import logging
import logging.handlers
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, cast

from rucio_inject.lake import backlog, memory, passes
from rucio_inject.lake.pace import Pace
from rucio_inject.lake.passes import Pass

_REPORT_EVERY = 5.0
_log = logging.getLogger("rucio_inject.lake.daemons")


@dataclass(frozen=True, slots=True)
class Report:
    """What a crew's loop tells of itself: its rounds, and how often passes failed, by daemon."""

    rounds: int
    failures: dict[str, int]
    last_failure: str | None


class Line:
    """The way to the supervisor. Records of the log and reports go up; nothing comes down, and
    its end means stop, whether the supervisor asks for it or was killed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def put_nowait(self, message: logging.LogRecord | Report) -> None:
        """Tell the supervisor; the name is the one that logging's handler for queues calls."""
        with self._lock:
            self._connection.send(message)

    def ended(self, seconds: float) -> bool:
        """Whether it ends within so many seconds."""
        return self._connection.poll(seconds)


def work(names: Sequence[str], connection: Connection) -> None:
    """Run these daemons until the line ends; what a process of the supervisor's does."""
    signal.set_wakeup_fd(-1)
    # Ctrl-C and `lake stop` reach every process: the supervisor says when it is time.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    line = Line(connection)
    logging.getLogger().handlers = [logging.handlers.QueueHandler(cast("Any", line))]
    _Loop(passes.make(names), backlog.Backlog(names, passes.REPAIR_AFTER), line).run()


class _Loop:
    """The loop, its counts and its report."""

    def __init__(
        self, daemons: dict[str, Pass], waiting: Callable[[], dict[str, int]], line: Line
    ) -> None:
        self._daemons = daemons
        self._waiting = waiting
        self._line = line
        self._pace = Pace(daemons)
        self._rounds = 0
        self._failures: dict[str, int] = {}
        self._last_failure: str | None = None
        self._reported = float("-inf")

    def run(self) -> None:
        """Go round until the line ends."""
        sleep = 0.0
        while not self._line.ended(sleep):
            due: tuple[str, ...] = ()
            backlog = self._guarded("backlog", self._waiting)
            if isinstance(backlog, dict):
                due = self._pace.due(backlog, time.monotonic())
            for name in due:
                self._guarded(name, self._daemons[name])
            self._rounds += 1
            sleep = self._pace.rest(worked=bool(due))
            self._report()

    def _guarded(self, name: str, work: Pass) -> object:
        """One pass; its failure must not end the lake, and is logged, counted and reported."""
        memory.forget()
        try:
            return work()
        # The border to daemons that are not ours, which raise whatever they like: at a real site
        # each would be a service of its own that is started again.
        except Exception:  # noqa: BLE001
            self._failures[name] = self._failures.get(name, 0) + 1
            self._last_failure = f"{name}: {traceback.format_exc(limit=-1).strip()}"
            self._reported = float("-inf")
            _log.exception("a pass of %s failed (%d so far)", name, self._failures[name])
            return None

    def _report(self) -> None:
        now = time.monotonic()
        if now - self._reported >= _REPORT_EVERY:
            self._reported = now
            self._line.put_nowait(Report(self._rounds, self._failures, self._last_failure))
