"""The transfer service and its end: nothing accepted is lost, nothing half done is seen."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lake.transfers_support import Running, entry, until


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    try:
        yield running.start("--workers", "2")
    finally:
        running.close()


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -9)])
def test_jobs_go_on_after_the_end(running: Running, how: signal.Signals, code: int) -> None:
    done = running.submit([entry(running.make("first", b"first"), running.b / "first")])
    running.done(done)
    # Two copies that are under way when the end comes, then many that wait behind them.
    sources = [running.endless("big0"), running.endless("big1")]
    sources += [running.make(f"s{n}", b"small %d" % n) for n in range(50)]
    job_id = running.submit(entry(path, running.b / path.name) for path in sources)
    until(lambda: len(running.parts()) == 2)

    assert running.end(how) == code
    assert sorted(path.name for path in running.b.iterdir() if ".part-" not in path.name) == [
        "first"
    ]
    # What was under way cannot end by itself within the test: give it an end.
    for path in sources[:2]:
        path.write_bytes(b"short now")
    running.start("--workers", "2")
    job = running.done(job_id)
    assert job["job_state"] == "FINISHED"
    assert len(job["files"]) == 52
    assert running.job(done)["job_state"] == "FINISHED"
    assert running.parts() == []
    for path in sources:
        assert (running.b / path.name).read_bytes() == path.read_bytes()


def test_a_cancelled_job_stays_cancelled_after_the_end(running: Running) -> None:
    job_id = running.submit([entry(running.endless("big"), running.b / "big")])
    until(running.parts)
    running.session.delete(f"{running.base}/jobs/{job_id}")
    running.end(signal.SIGKILL)
    running.start()
    assert running.job(job_id)["job_state"] == "CANCELED"
    assert not (running.b / "big").exists()


def test_a_stop_leaves_no_temporary_file(running: Running) -> None:
    running.submit([entry(running.endless("big"), running.b / "big")])
    until(running.parts)
    assert running.end() == 0
    assert running.parts() == []


def test_ctrl_c_ends_it_too(running: Running) -> None:
    assert running.end(signal.SIGINT) == 0
