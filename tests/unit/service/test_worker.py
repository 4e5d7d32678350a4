"""A run's process: its facts come out, the bell goes in, and its end is found."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rucio_inject.domain.facts import Fact
from rucio_inject.service.fact_lines import FactLines, facts, line
from rucio_inject.service.worker import ProcessWorker
from rucio_inject.testing.contracts.ledger import FILE, begun, found, life


def test_facts_go_through_a_pipe() -> None:
    told: list[Fact] = [begun(), found(FILE), *life(FILE)]
    read, write = os.pipe()
    lines = FactLines(write)
    lines.record(told)
    lines.record([])
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert list(facts(pipe)) == told
    assert list(facts([b"{}\n", b"[]\n", b"no\n", line(told[0])[:10], line(told[0])])) == told[:1]


def test_a_reader_that_has_gone_away_is_no_trouble() -> None:
    read, write = os.pipe()
    os.close(read)
    lines = FactLines(write)
    lines.record([begun()])
    lines.record([begun()])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(write)


SCRIPT = """
import os, sys, time
facts, bell = int(sys.argv[-3]), int(sys.argv[-1])
os.write(facts, sys.stdin.buffer.read() or LINE)
os.read(bell, 1)
print("rung", file=sys.stderr)
if "wait" in sys.argv: time.sleep(600)
sys.exit(5)
"""


def ended(worker: ProcessWorker) -> int | None:
    """The exit code of a run, once it has ended."""
    end = time.monotonic() + 300
    while (code := worker.poll()) is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    return code


def test_a_process_tells_facts_hears_the_bell_and_ends() -> None:
    told: list[Fact] = []
    script = SCRIPT.replace("LINE", repr(line(begun())))
    worker = ProcessWorker([sys.executable, "-c", script], dict(os.environ), told.extend)
    assert worker.poll() is None
    worker.ring()
    code = ended(worker)
    assert (code, told, worker.last_words()) == (5, [begun()], "rung")
    worker.ring()
    assert worker.poll() == 5


def test_a_bell_is_not_taken_away_from_who_rings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = ProcessWorker([sys.executable, "-c", ""], dict(os.environ), lambda _: None)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    writing = os.write
    polling = threading.Thread(target=worker.poll)

    def write(descriptor: int, data: bytes) -> int:
        # The run is found to have ended just before the ring goes out.
        polling.start()
        polling.join(timeout=1)
        os.fstat(descriptor)
        return writing(descriptor, data)

    monkeypatch.setattr("rucio_inject.service.worker.os.write", write)
    worker.ring()
    polling.join()
    worker.ring()


def test_a_process_that_is_killed_or_cannot_be_begun() -> None:
    script = SCRIPT.replace("LINE", repr(line(begun())))
    worker = ProcessWorker([sys.executable, "-c", script, "wait"], dict(os.environ), lambda _: None)
    worker.kill()
    assert ended(worker) == -9
    before = open_pipes()
    with pytest.raises(FileNotFoundError):
        ProcessWorker(["/no/such/program"], {}, lambda _: None)
    assert open_pipes() <= before


@pytest.mark.parametrize("fails", [0, 1])
def test_a_process_that_nobody_can_listen_to_is_ended(
    monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    before = open_pipes()
    started: list[threading.Thread] = []
    processes: list[subprocess.Popen[bytes]] = []
    start, popen = threading.Thread.start, subprocess.Popen

    def start_some(thread: threading.Thread) -> None:
        if len(started) == fails:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    def begin(*words: Any, **more: Any) -> subprocess.Popen[bytes]:
        processes.append(popen(*words, **more))
        return processes[-1]

    monkeypatch.setattr("rucio_inject.service.worker.threading.Thread.start", start_some)
    monkeypatch.setattr("rucio_inject.service.worker.subprocess.Popen", begin)
    with pytest.raises(OSError, match="can't start new thread"):
        ProcessWorker(
            [sys.executable, "-c", "import time; time.sleep(600)"], dict(os.environ), lambda _: None
        )
    assert [process.returncode for process in processes] == [-9]
    assert open_pipes() <= before


def open_pipes() -> set[str]:
    """This process' pipes."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        # What this one looks through is there, too, and gone again.
        with suppress(FileNotFoundError):
            found.add(str(entry.readlink()))
    return {name for name in found if name.startswith("pipe:")}
