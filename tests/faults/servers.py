"""Faults of the lake itself: its processes are killed or hang, and are started again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from tests.faults.field import Field, prove
from tests.faults.work import Job

LATER, STUCK = 5, 7
_ROUNDS = 2
_SHORT = 8


def killed(member: str) -> Callable[[Field], None]:
    """A scenario: kill -9 a process of the lake while jobs run, and start the lake again."""

    def play(field: Field) -> None:
        draw = field.draw(member)
        for turn in range(_ROUNDS):
            job = field.job(member, real=turn % 2 == 1)
            with field.watched(job):
                _kill_under(field, job, member, draw, end=False)
                prove(
                    field,
                    job,
                    (LATER, STUCK),
                    ending=lambda job=job: _kill_under(field, job, member, draw, end=True),  # type: ignore[misc]
                    boost=True,
                )

    return play


def _kill_under(field: Field, job: Job, member: str, draw: random.Random, *, end: bool) -> None:
    """Kill a process of the lake somewhere in a run, and start it again a little later."""
    run = job.start(end=end, deadline=20)
    run.wait(draw.uniform(1.0, 5.0))
    field.lake.kill(member)
    field.played.did(1)
    run.wait(draw.uniform(0.0, 3.0))
    field.lake.start()
    run.finish()


def slow_storage(field: Field) -> None:
    """The transfer service stands still for longer than a deadline."""
    job = field.job("slow", real=True)
    with field.watched(job):
        run = job.start(deadline=_SHORT)
        run.told("registered")
        with field.lake.frozen("transfers"):
            field.played.did(1)
            late = run.finish()
        field.played.did(0, f"exit code {late.code} at the deadline")
        prove(field, job, (LATER, STUCK), boost=True)


def slow_server(field: Field) -> None:
    """Rucio's server stands still for a while, and calls time out."""
    draw = field.draw("slow server")
    job = field.job("hangs", real=True, options=("--timeout", "2"))
    with field.watched(job):
        for _ in range(3):
            run = job.start()
            run.wait(draw.uniform(1.0, 4.0))
            with field.lake.frozen("server"):
                field.played.did(1)
                time.sleep(9)
            run.finish()
        prove(field, job, (LATER,))
