"""What the routes do, without HTTP: submit, look up, cancel, set a priority."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence

from rucio_inject.lake.transfers.model import Clock, JobRecord, JobRequest
from rucio_inject.lake.transfers.pool import WorkerPool
from rucio_inject.lake.transfers.store import Store

# The VO that deterministic ids are made of; the lake has one.
VO = "def"
_KEPT = 24 * 3600.0
_PURGE_EVERY = 60.0
_PURGE_AT_ONCE = 500


class TransferService:
    """Jobs in, jobs out. All methods may be called from any thread."""

    def __init__(self, store: Store, pool: WorkerPool, clock: Clock) -> None:
        """`pool` copies what `store` holds; both live as long as this does."""
        self._store = store
        self._pool = pool
        self._clock = clock
        self._purging = threading.Lock()
        self._purge_due = 0.0

    @property
    def base_id(self) -> str:
        """The UUID that deterministic job ids of this service are made of."""
        return self._store.base_id

    def submit(self, job: JobRequest) -> str:
        """Take a job; it is on disk when its id is returned. DuplicateJob if a deterministic id
        is known already."""
        now = self._clock.now().timestamp()
        self._purge(now)
        job_id = str(uuid.uuid4()) if job.seed is None else self._id_from(job.seed)
        self._store.accept(job_id, job, now)
        self._pool.wake()
        return job_id

    def find(self, job_ids: Sequence[str]) -> dict[str, JobRecord]:
        """The jobs that are known, by id."""
        return self._store.find(job_ids)

    def cancel(self, job_ids: Sequence[str]) -> dict[str, JobRecord]:
        """End what is still open of these jobs; returns those that are known, as they are now."""
        known = self._store.find(job_ids)
        for job_id in known:
            self._pool.cancel(job_id)
        return self._store.find(list(known))

    def set_priority(self, job_id: str, priority: int) -> JobRecord | None:
        """Give a job's waiting files another priority (1 to 5); None if there is no such job."""
        self._store.set_priority(job_id, priority)
        return self._store.find([job_id]).get(job_id)

    def counts(self) -> tuple[int, int]:
        """How many files wait, and how many are being copied."""
        return self._store.counts()

    def _id_from(self, seed: str) -> str:
        return str(uuid.uuid5(uuid.uuid5(uuid.UUID(self.base_id), VO), seed))

    def _purge(self, now: float) -> None:
        """Forget jobs that were over a day ago, a few at a time."""
        with self._purging:
            if now < self._purge_due:
                return
            gone = self._store.purge(now - _KEPT, _PURGE_AT_ONCE)
            if gone < _PURGE_AT_ONCE:
                self._purge_due = now + _PURGE_EVERY
