"""The SQL ledger between processes: killed in the middle, and several at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.ledger_databases import Location, clock, location

from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileState
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.testing.contracts.ledger import begun
from rucio_inject.testing.fake_clock import FakeClock

__all__ = ["clock", "location"]

pytestmark = pytest.mark.usefixtures("real_migrations")

KILLS = 4
BATCH = 300

# Imports once what each process would need a second for; then a line is a process.
_NURSERY = """
import itertools, json, os, signal, sys
from pathlib import Path
from rucio_inject.clock import SystemClock
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.testing.contracts.ledger import found, life

def work(task, place, name, log):
    place = place if "://" in place else Path(place)
    try:
        with SqlLedger(place, name, clock=SystemClock()) as ledger:
            tell(log, "open")
            for number in itertools.count() if task == "record" else ():
                dids = [DID("magic", f"{os.getpid():08}-{number:05}-{n:03}") for n in range(300)]
                ledger.record([found(did) for did in dids] + [life(did)[0] for did in dids])
                tell(log, str(number))
            signal.pause()
    except LedgerError as error:
        tell(log, str(error))

def tell(log, text):
    os.write(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), f"{text}\\n".encode())

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        work(*json.loads(line))
        os._exit(0)
    print(pid, flush=True)
"""


@dataclass
class Child:
    """A process that has a ledger open, or tried to."""

    pid: int
    log: Path

    def said(self, lines: int = 0) -> list[str]:
        """What it has told, once that is so many lines."""
        deadline = time.monotonic() + 300
        while True:
            found = self.log.read_text().splitlines() if self.log.exists() else []
            if len(found) >= lines:
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.005)

    def kill(self) -> None:
        """End it at once, and wait until it is gone."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        while Path("/proc", str(self.pid)).exists():
            time.sleep(0.005)


Start = Callable[..., Child]


@pytest.fixture(scope="module")
def nursery() -> Iterator[subprocess.Popen[str]]:
    """A process that makes others."""
    command = [sys.executable, "-c", _NURSERY]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(300) == 0


@pytest.fixture
def start(nursery: subprocess.Popen[str], tmp_path: Path) -> Iterator[Start]:
    """Starts a process that opens a ledger, and then records or waits; killed at the end."""
    children: list[Child] = []

    def start(task: str, place: Location, name: str = "magic") -> Child:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        log = tmp_path / f"{len(children)}.log"
        print(json.dumps([task, str(place), name, str(log)]), file=nursery.stdin, flush=True)
        children.append(Child(int(nursery.stdout.readline()), log))
        return children[-1]

    yield start
    for child in children:
        child.kill()


def test_a_kill_leaves_whole_batches(location: Location, clock: FakeClock, start: Start) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    reported = 0
    with SqlLedger(location, "magic", clock=clock) as ledger:
        ledger.record([begun()])
    for kill in range(KILLS):
        child = start("record", location)
        # Opened at once: the lease of the one killed before was taken over.
        assert child.said(2)[0] == "open"
        time.sleep(chance.random() / 5)
        child.kill()
        reported += len(child.said()) - 1
        # The first one to look rolls back what was half done: that must not take a writer.
        with SqlLedger(location, "magic", clock=clock, reading=True) as ledger:
            counts = ledger.counts()
        with SqlLedger(location, "magic", clock=clock) as ledger:
            assert ledger.counts() == counts, seed
            batches = {record.did.name[:14] for record in ledger.files()}
            assert set(counts) == {FileState.MEASURED}, seed
            assert counts[FileState.MEASURED] == BATCH * len(batches), seed
            # What was reported is there; the last one may be there without a report.
            assert reported <= len(batches) <= reported + kill + 1, seed
            for batch in batches:
                last = DID("magic", f"{batch}-{BATCH - 1:03}")
                story = [stored.kind for stored in ledger.story(last)]
                assert story == ["FileFound", "FileMeasured"], seed


def test_several_processes_make_one_ledger(location: Location, start: Start) -> None:
    children = [start("wait", location, name) for name in ("magic", "magic", "lst")]
    answers = [child.said(1)[0] for child in children]
    assert answers[2] == "open"
    winner, loser = sorted(answers[:2], key=len)
    assert winner == "open"
    assert "is in use by process" in loser


def test_a_killed_maker_leaves_no_half_of_a_ledger(
    tmp_path: Path, clock: FakeClock, start: Start
) -> None:
    for wait in range(0, 80, 8):
        path = tmp_path / f"{wait}.db"
        child = start("wait", path)
        time.sleep(wait / 1000)
        child.kill()
        with SqlLedger(path, "magic", clock=clock) as ledger:
            assert ledger.cycle == 0
