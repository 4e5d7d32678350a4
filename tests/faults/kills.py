"""kill -9 of the command, at seeded moments and at every request to Rucio."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock

from tests.faults.field import Field, prove
from tests.faults.proxy import FaultProxy
from tests.faults.work import Job, Ran, Run

# An act's runs are killed so often at most, then one may end.
_IN_AN_ACT = 7
# About as long, and as many requests, as an act takes.
_SECONDS = 6.0
_REQUESTS = 70
_AT_ONCE = 3


class Kills:
    """Counts down the kills that are left, and where they hit."""

    def __init__(self, left: int) -> None:
        self._left = left
        self._lock = Lock()
        self.phases: Counter[str] = Counter()

    def take(self) -> bool:
        """One more kill, if there is one left."""
        with self._lock:
            self._left -= 1
            return self._left >= 0

    def give_back(self) -> None:
        """A kill that did not happen."""
        with self._lock:
            self._left += 1

    def hit(self, ran: Ran) -> None:
        """A kill that happened."""
        with self._lock:
            self.phases[ran.phase] += 1

    @property
    def any_left(self) -> bool:
        """Whether another job is worth while."""
        with self._lock:
            return self._left > 0


def at_random(field: Field) -> None:
    """Files that are made, and real ones."""
    _spend(field, field.kills, lambda turn: field.job("kill", real=turn % 3 == 2))


def at_origin(field: Field) -> None:
    """Files of an origin RSE, which is freed; a part of the kills is enough for one kind of job."""
    _spend(field, field.kills // 3, lambda _: field.job("origin", real=True, origin=True))


def _spend(field: Field, number: int, make: Callable[[int], Job]) -> None:
    """Jobs at once until all kills are spent, each killed again and again through both acts."""
    kills = Kills(number)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        workers = [pool.submit(_worker, field, kills, turn, make) for turn in range(_AT_ONCE)]
        for worker in workers:
            worker.result()
    where = ", ".join(f"{number} {phase}" for phase, number in kills.phases.most_common())
    field.played.did(kills.phases.total(), f"after: {where}")


def _worker(field: Field, kills: Kills, turn: int, make: Callable[[int], Job]) -> None:
    draw = field.draw(f"kills/{turn}")
    while kills.any_left:
        # Now and then an origin is to be freed at once, as soon as it may be.
        job, both_acts = make(turn), turn % 4 != 3
        turn += 1
        play(field, job, draw, kills, first_act=both_acts or not job.origin)


def play(
    field: Field, job: Job, draw: random.Random, kills: Kills, *, first_act: bool = True
) -> None:
    """One job, killed through both acts, or the second alone, then judged."""
    with field.watched(job), field.proxied(job) as proxy:
        if first_act:
            _act(job, proxy, draw, kills, end=False)
        ending = partial(_act, job, proxy, draw, kills, end=True)
        prove(field, job, (), ending=ending, first_act=first_act)


def _act(job: Job, proxy: FaultProxy, draw: random.Random, kills: Kills, *, end: bool) -> None:
    for _ in range(_IN_AN_ACT):
        if not kills.take():
            return
        ran = _killed(job, proxy, draw, end=end)
        if ran.code == -9:
            kills.hit(ran)
            continue
        kills.give_back()
        if job.is_done(ran):
            return


def _killed(job: Job, proxy: FaultProxy, draw: random.Random, *, end: bool) -> Ran:
    """Run a job and kill it: some seconds after its first request, or right before or after a
    request gets through."""
    before = proxy.requests
    timed, seconds = draw.random() < 0.5, draw.uniform(0.0, _SECONDS)
    number, passed = before + draw.randint(1, _REQUESTS), draw.random() < 0.5
    run = job.start(end=end)
    if timed:
        # Earlier there is only an interpreter that starts.
        while proxy.requests == before and not run.wait(0.02):
            continue
        return run.kill_after(seconds)
    proxy.hook = killer(run, number, passed=passed)
    try:
        return run.finish()
    finally:
        proxy.hook = None


def killer(run: Run, at: int, *, passed: bool) -> Callable[[int, str, bool], None]:
    """A proxy's hook that kills a run at a request, before or after it was passed on."""

    def hook(number: int, _what: str, now_passed: bool) -> None:
        if number == at and now_passed == passed:
            run.kill()

    return hook
