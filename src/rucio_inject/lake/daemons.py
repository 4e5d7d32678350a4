"""Rucio's own daemons in one process: `python -m rucio_inject.lake.daemons`.

One loop makes single passes in the order in which a file goes through them. It is the quickest and
the smallest way to run them on one machine, and needs no change to Rucio. The calls are internal
to Rucio: they are pinned to its version, and the tests of the lake would show a change.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import logging.handlers
import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rucio_inject.lake.pace import Pace
from rucio_inject.whole_files import write_durably

Pass = Callable[[], object]

REPAIR_AFTER = 1800
"""Seconds that a rule is stuck before it is tried again, Rucio's own default."""

_BULK = 1000
_JOB_FILES = 100
_REPORT_EVERY = 5.0
_log = logging.getLogger("rucio_inject.lake.daemons")


def passes(*, hermes: bool) -> dict[str, Pass]:
    """A function for each daemon that makes one pass of it, in pipeline order."""
    usual = {**_judge(), **_conveyor(), **_bad_replicas(), **_ending(), **_abacus()}
    return usual | (_hermes() if hermes else {})


def _handler(name: str) -> object:
    from rucio.daemons.common import HeartbeatHandler  # noqa: PLC0415  reads rucio.cfg

    return HeartbeatHandler(name, renewal_interval=30)


def _judge() -> dict[str, Pass]:
    from rucio.daemons.judge import evaluator, injector, repairer  # noqa: PLC0415

    return {
        "injector": partial(
            injector.run_once, paused_rules={}, heartbeat_handler=_handler("judge-injector")
        ),
        "evaluator": partial(
            evaluator.run_once,
            paused_dids={},
            did_limit=_BULK,
            heartbeat_handler=_handler("judge-evaluator"),
        ),
        "repairer": partial(
            repairer.run_once,
            paused_rules={},
            delta=REPAIR_AFTER,
            heartbeat_handler=_handler("judge-repairer"),
        ),
    }


def _conveyor() -> dict[str, Pass]:
    from rucio.daemons.conveyor import finisher, poller, submitter  # noqa: PLC0415

    return {
        "submitter": partial(
            submitter.submitter, once=True, partition_wait_time=0, bulk=_BULK, group_bulk=_JOB_FILES
        ),
        "poller": partial(
            poller.poller, once=True, partition_wait_time=0, older_than=0, db_bulk=_BULK
        ),
        "finisher": partial(
            finisher.finisher, once=True, partition_wait_time=0, bulk=_BULK, db_bulk=_BULK
        ),
    }


def _bad_replicas() -> dict[str, Pass]:
    from rucio.daemons.badreplicas import necromancer  # noqa: PLC0415

    handler = _handler("necromancer")

    def one_pass() -> object:
        # It remembers for ten minutes how many bad replicas there are; we know that there are some.
        necromancer.REGION.delete("bad_replicas_backlog")
        return necromancer.run_once(handler, bulk=_BULK)

    return {"necromancer": one_pass}


def _ending() -> dict[str, Pass]:
    from rucio.daemons.judge import cleaner  # noqa: PLC0415
    from rucio.daemons.reaper import reaper  # noqa: PLC0415
    from rucio.daemons.undertaker import undertaker  # noqa: PLC0415

    return {
        "undertaker": partial(undertaker.undertaker, once=True, chunk_size=100),
        "cleaner": partial(
            cleaner.run_once, paused_rules={}, heartbeat_handler=_handler("judge-cleaner")
        ),
        "reaper": partial(
            reaper.reaper,
            rses=[],
            include_rses=None,
            exclude_rses=None,
            once=True,
            chunk_size=_BULK,
        ),
    }


def _abacus() -> dict[str, Pass]:
    from rucio.daemons.abacus import account, collection_replica, rse  # noqa: PLC0415

    return {
        "abacus-rse": partial(rse.rse_update, once=True),
        "abacus-account": partial(account.account_update, once=True),
        "abacus-collection-replica": partial(
            collection_replica.run_once,
            limit=_BULK,
            heartbeat_handler=_handler("abacus-collection-replica"),
        ),
    }


def _hermes() -> dict[str, Pass]:
    from rucio.daemons.hermes import hermes  # noqa: PLC0415

    return {
        "hermes": partial(hermes.run_once, bulk=_BULK, heartbeat_handler=_handler("hermes")),
    }


class Loop:
    """The loop, its counts and its report."""

    def __init__(
        self, daemons: dict[str, Pass], waiting: Callable[[], dict[str, int]], report: Path
    ) -> None:
        self._daemons = daemons
        self._waiting = waiting
        self._report = report
        self._pace = Pace(daemons)
        self._rounds = 0
        self._failures: dict[str, int] = {}
        self._last_failure: str | None = None
        self._reported = float("-inf")

    def run(self, bell: socket.socket) -> None:
        """Go round until something can be read from `bell`."""
        sleep = 0.0
        while not select.select([bell], [], [], sleep)[0]:
            due: tuple[str, ...] = ()
            backlog = self._guarded("backlog", self._waiting)
            if isinstance(backlog, dict):
                due = self._pace.due(backlog, time.monotonic())
            for name in due:
                self._guarded(name, self._daemons[name])
            self._rounds += 1
            sleep = self._pace.rest(worked=bool(due))
            self._write_report()

    def _guarded(self, name: str, work: Pass) -> object:
        """One pass; its failure must not end the lake, and is logged, counted and reported."""
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

    def _write_report(self) -> None:
        now = time.monotonic()
        if now - self._reported < _REPORT_EVERY:
            return
        self._reported = now
        report = {
            "pid": os.getpid(),
            "rounds": self._rounds,
            "failures": self._failures,
            "last_failure": self._last_failure,
        }
        write_durably(self._report, (json.dumps(report, indent=2) + "\n").encode())


def _prepare() -> None:
    """Forget what daemons of an earlier run, that were killed, held on to."""
    from rucio.core.heartbeat import cardiac_arrest  # noqa: PLC0415

    from rucio_inject.lake import backlog  # noqa: PLC0415

    cardiac_arrest()
    given_up = backlog.give_up_interrupted_submissions()
    if given_up:
        _log.warning("%d interrupted submissions are tried again", given_up)


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


def main() -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--hermes", action="store_true")
    arguments = parser.parse_args()
    bell = _ring_on_signals()
    _log_to(arguments.log)
    from rucio_inject.lake import backlog  # noqa: PLC0415  needs rucio.cfg

    _prepare()
    daemons = passes(hermes=arguments.hermes)
    # Rucio's tables and classes stay for good: looking through them for garbage is lost time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    _log.info("running %s", ", ".join(daemons))
    Loop(daemons, backlog.Backlog(REPAIR_AFTER), arguments.report).run(bell)
    _log.info("stopped")


if __name__ == "__main__":
    main()
