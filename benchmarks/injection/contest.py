"""The contestants in turn, each try in a new scope, and each checked by Rucio's own client."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.injection.cases import Case
from benchmarks.injection.job import RULES, Done, Job
from benchmarks.injection.lake import BenchLake, child_environment
from benchmarks.injection.official import Official, Promise, sign_in

SEED, UPLOAD, OURS = "seed", "upload-client", "ours"
DOWNLOAD = "download-client"
COPY, COPY_1, BULK = "plain-copy", "plain-copy-1", "bulk-calls"
INJECTING = (SEED, UPLOAD, OURS)
ROOT = Path(__file__).parents[2]
# Above this, replicas are removed after each try: the disk has to hold them all.
REMOVED = 1 << 30
CHILD_SECONDS = 3 * 3600.0
OK_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done: threads of each contestant, and files where fewer than the case's do."""

    threads: int = 4
    seed: int = 50
    upload: int = 200
    download: int = 200

    def files(self, contestant: str, case: Case) -> int:
        """How many of a case's files a contestant gets."""
        fewer = {SEED: self.seed, UPLOAD: self.upload, DOWNLOAD: self.download}
        return min(case.files, fewer.get(contestant, case.files))


@dataclass(frozen=True, slots=True)
class Try:
    """One contestant's one go at a case: what it did, or why that does not count.

    `load`: the machine's load average of a minute, just before. `ok_seconds`: from the first file
    until every rule was OK, where that was waited for.
    """

    contestant: str
    case: str
    repetition: int
    load: float
    done: Done | None
    problem: str | None = None
    ok_seconds: float | None = None

    def to_row(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def order(contestants: Sequence[str], repetition: int) -> list[str]:
    """Everybody's turn in a repetition (0 the first): another one begins each time."""
    begin = repetition % len(contestants)
    return [*contestants[begin:], *contestants[:begin]]


class Contest:
    """Runs tries on one lake, one at a time."""

    def __init__(
        self, lake: BenchLake, sizes: Sizes, say: Callable[[str], None], stamp: str
    ) -> None:
        """`stamp` is part of every scope's name: scopes stay in a lake for ever."""
        self._lake = lake
        self._sizes = sizes
        self._say = say
        self._stamp = stamp
        self._official = Official(sign_in(lake))
        self._count = 0
        self._left: list[Promise] = []

    def run(
        self,
        case: Case,
        folder: Path,
        contestants: Sequence[str],
        repeat: int,
        *,
        only_inject: bool = False,
    ) -> Iterator[Try]:
        """Every contestant's tries at a case. The download has its turn after ours, on what that
        left; not where replicas are removed."""
        turns = [one for one in contestants if one != DOWNLOAD]
        downloads = DOWNLOAD in contestants and case.bytes < REMOVED
        for repetition in range(repeat):
            for contestant in order(turns, repetition):
                job = replace(self._job(contestant, case, folder), only_inject=only_inject)
                after = downloads and contestant == OURS
                yield from self._turn(job, case, repetition, download=after)

    def _turn(self, job: Job, case: Case, repetition: int, *, download: bool) -> Iterator[Try]:
        contestant = job.contestant
        tried = self._try(job, case, repetition)
        if tried.done is None or contestant not in (*INJECTING, BULK):
            yield tried
            return
        rules = RULES if contestant in INJECTING and not job.only_inject else ()
        promise = Promise(job.scope, job.sources, tried.done.datasets, rules)
        tried = self._settled(tried, promise)
        yield tried
        if download and tried.problem is None:
            again = self._job(DOWNLOAD, case, job.folder)
            yield self._try(replace(again, scope=job.scope), case, repetition)
        self._tidy(promise)

    def _job(self, contestant: str, case: Case, folder: Path) -> Job:
        self._count += 1
        threads = 1 if contestant == COPY_1 else self._sizes.threads
        scope = f"bench_{self._stamp}_{self._count:03}"
        files = self._sizes.files(contestant, case)
        work = self._lake.work / f"try-{self._count:03}"
        return Job(contestant, scope, folder, files, threads, work)

    def _try(self, job: Job, case: Case, repetition: int) -> Try:
        if job.contestant in (*INJECTING, BULK):
            self._official.add_scope(job.scope)
        # What is still to be written to the disk would slow the next one down.
        os.sync()
        load = os.getloadavg()[0]
        self._say(f"{case} {job.contestant}: try {repetition + 1}, load {load:.1f}")
        done, problem = self._done(job)
        return Try(job.contestant, str(case), repetition, load, done, problem)

    def _done(self, job: Job) -> tuple[Done | None, str | None]:
        """The job done in a process of its own, and looked at; or why it is not."""
        job.work.mkdir()
        try:
            told, answer = job.work / "job.json", job.work / "done.json"
            told.write_text(job.to_json(), encoding="utf-8")
            child = subprocess.run(
                [sys.executable, "-m", "benchmarks.injection.child", str(told), str(answer)],
                env=child_environment(self._lake),
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
                timeout=CHILD_SECONDS,
            )
            if child.returncode:
                lines = child.stderr.strip().splitlines() or [f"exit code {child.returncode}"]
                return None, lines[-1]
            return Done.from_json(answer.read_text(encoding="utf-8")), None
        finally:
            shutil.rmtree(job.work)

    def _settled(self, tried: Try, promise: Promise) -> Try:
        """The try as Rucio sees it, once all its transfers are made: they would slow the next."""
        assert tried.done is not None
        begun = time.monotonic()
        problem = self._official.problem(promise)
        if problem is None and tried.done.files != len(promise.sources):
            problem = f"tells of {tried.done.files} files, not of {len(promise.sources)}"
        problem = problem or self._official.wait_until_ok(promise, OK_SECONDS)
        waited = time.monotonic() - begun
        seconds = tried.done.details.get("replicated_seconds", tried.done.seconds + waited)
        ok = problem is None and promise.rules
        return replace(tried, problem=problem, ok_seconds=seconds if ok else None)

    def _tidy(self, promise: Promise) -> None:
        size = sum(source.size for source in promise.sources)
        if size < REMOVED or not promise.rules:
            self._left.append(promise)
            return
        self._official.end(promise)
        left = self._official.wait_until_gone(promise, OK_SECONDS)
        if left:
            raise SystemExit(f"the disk would fill up: {left}")

    def close(self) -> None:
        """Let everything that is left in a lake that stays come to its end."""
        for promise in self._left if self._lake.borrowed else ():
            self._official.end(promise)
