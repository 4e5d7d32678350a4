"""Watches real source files: the moment that one goes, its promised replicas must be whole."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from tests.faults.judge import Broken, Promise
from tests.faults.lake import PROMISED
from tests.faults.work import Job

_EVERY = 0.002


class Watcher:
    """Looks at the sources of a job all the time; `broken` is what it saw."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._left = set(job.contents)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.broken: list[Broken] = []
        self.seen = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY):
            self._look()
        self._look()

    def _look(self) -> None:
        for name in sorted(self._left):
            if not (self._job.sources / name).exists():
                self._left.discard(name)
                self.seen += 1
                self._prove(name)

    def _prove(self, name: str) -> None:
        for rse in PROMISED:
            path = self._job.lake.stored(rse, self._job.scope).get(name)
            if path is None or path.read_bytes() != self._job.contents[name]:
                how = f"{name} is freed, and {rse} does not hold its bytes"
                self.broken.append(Broken(Promise.FREED, how))
