"""The worker threads: a bounded number of copies at a time, in the store's order."""

from __future__ import annotations

import errno
import threading
from collections.abc import Mapping

from rucio_inject.lake.transfers.copier import (
    Copier,
    CopyControl,
    CopyFailed,
    CopyStopped,
    Side,
)
from rucio_inject.lake.transfers.model import Clock, FileState, Outcome, Task
from rucio_inject.lake.transfers.paths import scheme_of
from rucio_inject.lake.transfers.store import Store


class WorkerPool:
    """Copies what the store has waiting.

    Light files go one at a time, beside the heavy ones: such a copy is some forty short calls to
    the system, and threads that make them at once only pass the interpreter to and fro (measured
    with 100 kB: eight threads are half as fast as one). So while a light file is copied, no other
    worker takes anything; its own takes the next, and a worker that takes a heavy file first
    wakes another. With heavy files the threads run side by side.

    An error that nobody foresaw ends its worker: `threading.excepthook` decides what becomes of
    the process. The file then stays ACTIVE in the store, and is done again after a restart.
    """

    def __init__(
        self,
        store: Store,
        copiers: Mapping[str, Copier],
        clock: Clock,
        workers: int,
        light_size: int = 0,
    ) -> None:
        """`copiers` by the scheme of the destination; `workers` threads, begun by `start`; files
        of at most `light_size` bytes are copied one at a time."""
        self._store = store
        self._copiers = copiers
        self._clock = clock
        self._light_size = light_size
        # Guards all below, and what of the store must agree with it.
        self._changed = threading.Condition()
        self._running: dict[int, tuple[Task, CopyControl]] = {}
        self._light_running = False
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"transfer-{n}", daemon=True)
            for n in range(workers)
        ]

    def start(self) -> None:
        """Clean up after a killed process, and begin to copy."""
        for task in self._store.resume():
            copier = self._copiers.get(scheme_of(task.destination))
            if copier is not None:
                copier.forget(task)
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """There is something new in the store. One worker is enough: it wakes the next."""
        with self._changed:
            self._changed.notify()

    def cancel(self, job_id: str) -> None:
        """End a job's waiting and running files; one that has its final name stays done."""
        with self._changed:
            mine = [
                (task, string) for task, string in self._running.values() if task.job_id == job_id
            ]
            spared = [task.file_id for task, string in mine if not string.stop()]
            self._store.cancel(job_id, spared, self._clock.now().timestamp())

    def stop(self, patience: float) -> None:
        """End the running copies, to be done again after a restart, and wait for the workers, at
        most `patience` seconds."""
        with self._changed:
            self._stopping = True
            for _, string in self._running.values():
                string.stop()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(patience / len(self._threads))

    def _work(self) -> None:
        claimed = self._next(None)
        while claimed is not None:
            task, string = claimed
            claimed = self._next(self._copy(task, string), task.file_id)

    def _next(
        self, ended: tuple[FileState, str | None] | None, file_id: int = 0
    ) -> tuple[Task, CopyControl] | None:
        """Record how a file ended, if it did, and wait for a task; None when the pool stops."""
        with self._changed:
            outcome = None if ended is None else Outcome(file_id, *ended)
            was = self._running.pop(file_id, None)
            if was is not None and self._light(was[0]):
                self._light_running = False
            if self._light_running or self._stopping:
                self._record(outcome)
                outcome = None
            while not self._stopping:
                if not self._light_running:
                    task = self._store.turn(outcome, self._clock.now().timestamp())
                    outcome = None
                    if task is not None:
                        return self._take(task)
                self._changed.wait()
        return None

    def _take(self, task: Task) -> tuple[Task, CopyControl]:
        if self._light(task):
            self._light_running = True
        else:
            self._changed.notify()
        self._running[task.file_id] = task, CopyControl()
        return self._running[task.file_id]

    def _record(self, outcome: Outcome | None) -> None:
        if outcome is not None:
            self._store.finish(outcome, self._clock.now().timestamp())

    def _light(self, task: Task) -> bool:
        # Other copies wait for servers, and let one another work meanwhile.
        local = scheme_of(task.destination) == "file"
        return local and task.size is not None and task.size <= self._light_size

    def _copy(self, task: Task, string: CopyControl) -> tuple[FileState, str | None] | None:
        """How the copy ended; None if it was stopped, which whoever stopped it has recorded."""
        try:
            self._copier(task).copy(task, string)
        except CopyFailed as failed:
            return FileState.FAILED, failed.reason
        except CopyStopped:
            return None
        return FileState.FINISHED, None

    def _copier(self, task: Task) -> Copier:
        copier = self._copiers.get(scheme_of(task.destination))
        if copier is None:
            known = ", ".join(f"{scheme}://" for scheme in sorted(self._copiers))
            text = f"No copier for {task.destination}: this service knows {known} only"
            raise CopyFailed(Side.DESTINATION, errno.EPROTONOSUPPORT, text)
        return copier
