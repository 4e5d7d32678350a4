"""Where scenarios are played, what they note, and how all of them end."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import judge
from tests.faults.judge import Broken
from tests.faults.lake import Lake
from tests.faults.proxy import FaultProxy
from tests.faults.watcher import Watcher
from tests.faults.work import Job


@dataclass(slots=True)
class Played:
    """What a scenario did and found: `faults` done, `tried` jobs, and the promises broken."""

    faults: int = 0
    tried: int = 0
    broken: list[Broken] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def did(self, faults: int, note: str | None = None) -> None:
        """Count faults; scenarios may have several threads."""
        with self._lock:
            self.faults += faults
            if note:
                self.notes.append(note)

    def found(self, broken: Iterable[Broken]) -> None:
        """Note broken promises."""
        found = list(broken)
        with self._lock:
            self.broken += found


@dataclass(frozen=True, slots=True)
class Field:
    """A lake, a folder and a seed. `kills` is how often the scenario of kills does it."""

    lake: Lake
    folder: Path
    seed: int
    kills: int
    played: Played = field(default_factory=Played)

    def draw(self, what: str) -> random.Random:
        """Chance that repeats: the same seed and words, the same draws."""
        return random.Random(f"{self.seed}/{what}")

    def job(self, name: str, **settings: Any) -> Job:
        """A job of its own."""
        self.played.tried += 1
        job = Job(self.folder / f"{name}-{self.played.tried}", name, self.lake, **settings)
        self.played.jobs.append(job)
        return job

    @contextmanager
    def watched(self, job: Job) -> Iterator[None]:
        """A job whose sources are watched."""
        watcher = Watcher(job)
        try:
            with watcher:
                yield
        finally:
            self.played.found(watcher.broken)

    @contextmanager
    def proxied(self, job: Job) -> Iterator[FaultProxy]:
        """A proxy between a job and Rucio; what it did is counted."""
        with FaultProxy(self.lake.url, f"{self.seed}/{job.name}") as proxy:
            job.proxy = proxy.url
            try:
                yield proxy
            finally:
                did = ", ".join(f"{number} {kind}" for kind, number in sorted(proxy.counts.items()))
                self.played.did(proxy.counts.total(), did or None)


def prove(
    field: Field,
    job: Job,
    codes: Iterable[int],
    *,
    ending: Callable[[], None] | None = None,
    boost: bool = False,
    first_act: bool = True,
) -> None:
    """The fault is over: the job must come to its end, and everything be as promised.

    `codes` are the exit codes that the fault explains. `ending` does faults to the second act, in
    which rules and replicas end; real files in a folder have none. Without the `first_act`: it is
    over, or what is asked for is the second at once.
    """
    found = field.played.found
    if first_act:
        found(judge.done(job, end=False, boost=boost))
        found(judge.kept(job))
    if job.has_end:
        if ending is not None:
            ending()
        found(judge.done(job, end=True, boost=boost))
        found(judge.ended(job))
    found(judge.sources(job))
    found(judge.output(job.ran, codes))
    found(judge.processes(job))
