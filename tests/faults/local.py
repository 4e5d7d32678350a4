"""Faults on the machine that the command runs on: its disk, its clock, and a second command."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from tests.faults import judge
from tests.faults.field import Field, prove
from tests.faults.judge import Broken, Promise
from tests.faults.lake import PROMISED
from tests.faults.work import Job, Run

if TYPE_CHECKING:
    from rucio.client.client import Client

ERROR, FILES_FAILED, LATER = 1, 3, 5
_MOMENTS = ("measured", "uploaded", "registered", "in datasets", "replicated", "read back")
_JUMPS = (timedelta(days=2), timedelta(days=-2), timedelta(hours=1), timedelta(0))


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """A small file system in memory on a folder."""
    folder.mkdir(parents=True)
    line = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(line, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def full_disk(field: Field) -> None:
    """The disk of ledger and work files is full at one milestone after the other."""
    if os.geteuid() != 0:
        _file_size(field)
        return
    for real in (False, True):
        job = field.job("full", real=real)
        with mounted(job.output, "2m"), field.watched(job):
            for moment in _MOMENTS:
                _fill_at(field, job, moment)
            prove(field, job, (LATER,))


def _fill_at(field: Field, job: Job, moment: str) -> None:
    """Fill the disk when a run has told a milestone, or from its beginning; then make room."""
    ballast = job.output / "ballast"
    run = job.start()
    midway = run.told(moment, seconds=4.0)
    if not midway:
        run.kill()
        run.finish()
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            field.played.did(1)
    if midway:
        run.finish()
    else:
        job.run()
    ballast.unlink()


def _file_size(field: Field) -> None:
    """Without root: no file may grow beyond some bytes, as with a quota that is spent."""
    job = field.job("limited")
    for size in (2_000, 10_000, 30_000):
        job.prefix = ("prlimit", f"--fsize={size}")
        job.run()
        field.played.did(1)
    job.prefix = ()
    prove(field, job, (LATER, ERROR, FILES_FAILED))


def faketime() -> str | None:
    """Where libfaketime is; None where it is not."""
    named = os.environ.get("FAULTS_FAKETIME")
    found = [named] if named else [str(p) for p in Path("/usr/lib").glob("*/faketime/lib*.so.1")]
    kept = [path for path in found if Path(path).exists() and "MT" in Path(path).name]
    return kept[0] if kept else None


def no_faketime() -> str | None:
    """Why the clock cannot jump here."""
    return None if faketime() else "libfaketime is not installed (Debian: apt install libfaketime)"


def clock_jumps(field: Field) -> None:
    """Between two runs, each killed midway, the clock jumps by days."""
    draw = field.draw("clock")
    library = faketime()
    assert library is not None
    for real in (False, True):
        job = field.job("clock", real=real)
        with field.watched(job):
            for jump in _JUMPS:
                seconds = f"{int(jump.total_seconds()):+d}s"
                job.extra = {
                    "LD_PRELOAD": library,
                    "FAKETIME": seconds,
                    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                }
                job.start().kill_after(draw.uniform(1.5, 4.0))
                field.played.did(1, seconds)
            job.extra = {}
            prove(field, job, (LATER,))


def at_once(field: Field) -> None:
    """Three commands of one campaign at once, again and again."""
    for real in (False, True):
        crowd(field, real=real, rounds=3)


def crowd(field: Field, *, real: bool, rounds: int) -> None:
    """Three commands of one job at once, one of them killed in between; the job is then proved."""
    draw = field.draw(f"at once/{real}")
    job = field.job("twice", real=real)
    with field.watched(job):
        for _ in range(rounds):
            runs = [job.start() for _ in range(3)]
            victim = runs.pop(draw.randrange(3))
            victim.kill_after(draw.uniform(1.0, 5.0))
            codes = [run.finish().code for run in runs]
            field.played.did(2, f"exit codes {codes}")
        field.played.found(_refused_by_name(job))
        prove(field, job, (LATER,))


def _refused_by_name(job: Job) -> Iterator[Broken]:
    for ran in job.ran:
        if ran.code == LATER and "in use by" not in ran.err:
            yield Broken(Promise.WORDS, f"refused without the holder's name: {ran}")


def porters_killed(field: Field) -> None:
    """Of many small files: the processes that copy them are killed, and runs soon after."""
    draw = field.draw("porters")
    for real in (False, True):
        job = field.job("porters", real=real, runs=2, subruns=150)
        with field.watched(job):
            for kills_run in (True, True, False):
                run = job.start()
                killed = _porter_killed(job, run, draw.uniform(0, 0.1))
                field.played.did(killed, None if killed else "there was none to be killed")
                if kills_run:
                    run.kill_after(draw.uniform(0, 0.1))
                else:
                    run.finish()
            prove(field, job, ())


def _porter_killed(job: Job, run: Run, seconds: float) -> int:
    """Kill the first porter that a run has, some seconds after it was seen; how many that were."""
    while not run.wait(0.01):
        for process in job.processes():
            with suppress(psutil.Error):
                if "rucio_inject.rucio.porter" in process.cmdline():
                    run.wait(seconds)
                    process.kill()
                    return 1
    return 0


def forgotten(field: Field) -> None:
    """Rucio forgets what it had confirmed, as after its database came back from a backup: a file
    is no longer in its dataset, and a rule is no longer there."""
    for what in ("file", "rule"):
        job = field.job(f"forgot-{what}", real=True)
        with field.watched(job):
            run = job.start()
            run.told("in datasets")
            run.kill()
            run.finish()
            with job.lake.official() as client:
                _forget(client, job, what)
            field.played.did(1, f"a {what} is forgotten")
            prove(field, job, (LATER,))


def _forget(client: Client, job: Job, what: str) -> None:
    dataset, names = next(iter(job.datasets.items()))
    if what == "file":
        client.detach_dids(job.scope, dataset, [{"scope": job.scope, "name": names[0]}])
        return
    for rule in client.list_did_rules(job.scope, dataset):
        if rule["rse_expression"] == PROMISED[0]:
            client.delete_replication_rule(rule["id"], purge_replicas=True)
            client.update_replication_rule(rule["id"], {"lifetime": 0})


def twins(field: Field) -> None:
    """Two machines with one campaign: the same files, but each its own ledger.

    They come to one lake in order. Neither is asked to end it: each keeps what the other made.
    """
    one = field.job("twin")
    other = Job(field.folder / "other-twin", "twin", field.lake, number=one.number)
    for _ in range(3):
        runs = [job.start() for job in (one, other)]
        for run in runs:
            run.finish()
        field.played.did(1)
    found = field.played.found
    for job in (one, other):
        found(judge.done(job, end=False))
    found(judge.kept(one))
    for job in (one, other):
        found(judge.sources(job))
        found(judge.output(job.ran, (LATER, ERROR)))
        found(judge.processes(job))
