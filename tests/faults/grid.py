"""Faults of real storages: XRootD's servers, what signs us in to them, and who may write."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Self

from tests.faults.field import Field, prove
from tests.faults.lake import ACCOUNT, UPLOAD, Lake
from tests.faults.storages import VICTIM
from tests.faults.work import Job

from rucio_inject.lake.embedded import EmbeddedLake
from rucio_inject.whole_files import write_durably

ERROR, FILES_FAILED, LATER, SIGN_IN, STUCK = 1, 3, 5, 6, 7
_LARGE = 20_000_000
_SHORT = 15
_TWO_HOURS = 7200
_GOES_ON = 1.0
KILLED = -9
_PIC, _LAPP = "xrootd-PIC", "xrootd-LAPP"


class Killer:
    """Kills a server as soon as a part of a file shows on its storage."""

    def __init__(self, lake: Lake, member: str, rse: str, part: str) -> None:
        self._lake, self._member, self._rse, self._part = lake, member, rse, part
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._stop = threading.Event()
        self.killed = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        folder = self._lake.storage(self._rse)
        while not self.killed and not self._stop.wait(0.002):
            if any(folder.rglob(f"*{self._part}*")):
                self._lake.kill(self._member)
                self.killed = 1


def killed(member: str, rse: str, part: str) -> Callable[[Field], None]:
    """A scenario: kill -9 a server that has a part of a file, and start it again when the command
    has seen that it is away."""

    def play(field: Field) -> None:
        for _ in range(2):
            job = field.job("server", real=True, size=_LARGE)
            with field.watched(job):
                with Killer(field.lake, member, rse, part) as killer:
                    ran = job.run(deadline=_SHORT)
                field.played.did(killer.killed, f"exit code {ran.code}")
                field.lake.start()
                _tidy(field, job)
                prove(field, job, (ERROR, FILES_FAILED, LATER, STUCK), boost=True)

    return play


def _tidy(field: Field, job: Job) -> None:
    """The half of an upload whose run has ended is the audit's, once nobody has written to it for
    an hour; what it leaves is found by the judge."""
    halves = list((field.lake.storage(UPLOAD) / job.scope).rglob("*.rucio.upload"))
    if not halves:
        return
    for half in halves:
        os.utime(half, (time.time() - _TWO_HOURS,) * 2)
    ran = job.repair()
    field.played.did(0, f"{len(halves)} halves for the audit, exit code {ran.code}")


def killed_under(field: Field) -> None:
    """The upload RSE's server is killed while files are sent to it, and comes again soon: the same
    run goes on."""
    for _ in range(2):
        job = field.job("server", real=True, size=_LARGE)
        with field.watched(job):
            with Killer(field.lake, _PIC, UPLOAD, ".rucio.upload") as killer:
                run = job.start()
                while not killer.killed and not run.wait(0.05):
                    continue
            field.played.did(killer.killed)
            field.lake.start()
            run.finish()
            prove(field, job, (LATER, STUCK), boost=True)


killed_for_long = killed(_PIC, UPLOAD, ".rucio.upload")
killed_amid_copy = killed(_LAPP, VICTIM, ".part-")


@contextmanager
def refused(lake: Lake, rse: str) -> Iterator[None]:
    """A storage on which nothing new may be made."""
    folder = lake.storage(rse)
    mode = folder.stat().st_mode
    folder.chmod(0o555)
    try:
        yield
    finally:
        folder.chmod(mode)


def expired(field: Field) -> None:
    """The proxy expires amid a run, at one milestone after the other; then there is a new one."""
    proxies = Proxies(field.lake)
    for real, moment in ((True, "measured"), (True, "replicated"), (False, "registered")):
        job = field.job("proxy", real=real)
        with field.watched(job):
            proxies.expire_at(field, job, moment)
            prove(
                field,
                job,
                (SIGN_IN, LATER),
                ending=lambda job=job: proxies.expire_at(field, job, "ending", end=True),  # type: ignore[misc]
                boost=True,
            )


class Proxies:
    """A good proxy and one that has expired, changed for each other in a moment."""

    def __init__(self, lake: Lake) -> None:
        held = EmbeddedLake(lake.root)
        self._old = held.renew_proxy(ACCOUNT, timedelta(minutes=-10)).read_bytes()
        self._place = held.renew_proxy(ACCOUNT, timedelta(hours=12))
        self._good = self._place.read_bytes()

    def expire_at(self, field: Field, job: Job, moment: str, *, end: bool = False) -> None:
        """The proxy of a job expires at a milestone. Its run may go on, by the connections that it
        has; one that begins then cannot. Then the proxy is good again."""
        run = job.start(end=end, deadline=_SHORT)
        run.told(moment)
        write_durably(self._place, self._old)
        gone_on = run.kill_after(_GOES_ON)
        ran = job.run(end=end) if gone_on.code == KILLED else gone_on
        field.played.did(int(ran.code == SIGN_IN), f"exit code {ran.code} after {moment}")
        write_durably(self._place, self._good)
