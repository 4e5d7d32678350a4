"""Jobs and files on disk, in one SQLite file: what the service has promised outlives it.

One connection, guarded by a lock and locked exclusively: a second service on the same folder is
refused, and SQLite's multi-process paths are never walked. Write-ahead logging without waiting
for the disk outlives a killed process; `fsync` makes it outlive a power cut too.

Fairness: among equal priorities, jobs take turns. A file's `turn` is the turn that is being served
when its job arrives, plus its place in the job; the lowest turn goes first. So a small job does
not wait for the whole of a big one, and a big one is not pushed back by later ones for ever.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rucio_inject.domain.errors import LakeError
from rucio_inject.lake.transfers.model import (
    FileRecord,
    FileRequest,
    FileState,
    FollowUp,
    JobRecord,
    JobRequest,
    JobType,
    Outcome,
    Task,
    Verify,
    follow_up,
    in_order,
)

STATE_FILE = "transfers.sqlite"
_FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS service (base_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (
    job_id TEXT PRIMARY KEY, job_type TEXT NOT NULL, priority INTEGER NOT NULL,
    verify TEXT NOT NULL, metadata TEXT NOT NULL, submitted_at REAL NOT NULL,
    finished_at REAL, open_files INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS files (
    file_id INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL, position INTEGER NOT NULL,
    source TEXT NOT NULL, destination TEXT NOT NULL, size INTEGER, checksum TEXT,
    activity TEXT NOT NULL, overwrite INTEGER NOT NULL, metadata TEXT NOT NULL,
    state TEXT NOT NULL, released INTEGER NOT NULL, priority INTEGER NOT NULL,
    turn INTEGER NOT NULL, resumed INTEGER NOT NULL DEFAULT 0, reason TEXT, started_at REAL,
    finished_at REAL
);
CREATE UNIQUE INDEX IF NOT EXISTS files_of_job ON files (job_id, position);
CREATE INDEX IF NOT EXISTS files_waiting ON files (priority DESC, turn, file_id)
    WHERE state = 'SUBMITTED' AND released = 1;
CREATE INDEX IF NOT EXISTS files_open ON files (state)
    WHERE state IN ('SUBMITTED', 'ACTIVE');
"""
_TASK = (
    "SELECT f.file_id, f.job_id, f.position, f.source, f.destination, f.size, f.checksum,"
    " j.verify, f.overwrite, f.resumed, f.priority, f.turn"
    " FROM files f JOIN jobs j ON j.job_id = f.job_id "
)
# Says more than it needs to, so that SQLite sees that the index of open files serves.
_ACTIVE = "WHERE state IN ('SUBMITTED', 'ACTIVE') AND state = 'ACTIVE'"
_NEXT = (
    _TASK + "WHERE f.state = 'SUBMITTED' AND f.released = 1"
    " ORDER BY f.priority DESC, f.turn, f.file_id LIMIT 1"
)
# Names the temporary files; any fixed value does.
_LABELS = uuid.UUID("5f0c1f6e-9a1b-4c65-9a53-2d6f3a1e7b10")
_CANCELED = "TRANSFER [125] Operation canceled"


class DuplicateJob(Exception):
    """A job with this id was accepted before."""


class Store:
    """What was accepted, and what became of it. All methods may be called from any thread; each
    is one transaction, on disk when it returns. sqlite3.Error if the disk fails."""

    def __init__(self, folder: Path, *, fsync: bool = False) -> None:
        """Open or make the state file in `folder`. LakeError if that cannot be done."""
        self._lock = threading.Lock()
        self._served: dict[int, int] = {}
        self.base_id: str = ""
        path = folder / STATE_FILE
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=0.2, isolation_level=None, check_same_thread=False
            )
            self._prepare(path, fsync=fsync)
        except (OSError, sqlite3.Error) as error:
            raise LakeError(
                f"the transfer service cannot use its state file {path}: {error}",
                hint="see that the folder can be written, that its disk is not full, and that no"
                " other transfer service runs on it",
            ) from error

    def _prepare(self, path: Path, *, fsync: bool) -> None:
        run = self._connection.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA journal_mode = WAL")
        run(f"PRAGMA synchronous = {'FULL' if fsync else 'NORMAL'}")
        (found,) = run("PRAGMA user_version").fetchone()
        if found not in {0, _FORMAT}:
            raise LakeError(
                f"{path} has format {found}, and this version knows {_FORMAT} only",
                hint="remove the file while nothing is being transferred, or use the version that"
                " wrote it",
            )
        self._connection.executescript(_SCHEMA)
        with self._transaction() as cursor:
            cursor.execute(f"PRAGMA user_version = {_FORMAT}")
            if cursor.execute("SELECT base_id FROM service").fetchone() is None:
                cursor.execute("INSERT INTO service VALUES (?)", (str(uuid.uuid4()),))
            (self.base_id,) = cursor.execute("SELECT base_id FROM service").fetchone()
            waiting = cursor.execute(
                "SELECT priority, min(turn) FROM files"
                " WHERE state = 'SUBMITTED' AND released = 1 GROUP BY priority"
            )
            self._served.update(waiting.fetchall())

    def close(self) -> None:
        """Give the state file back."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        with self._lock:
            cursor = self._connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    def resume(self) -> list[Task]:
        """Put back in line what a killed process was copying; returns those tasks."""
        with self._transaction() as cursor:
            rows = cursor.execute(_TASK + _ACTIVE).fetchall()
            cursor.execute(
                "UPDATE files SET state = 'SUBMITTED', resumed = 1, started_at = NULL"
                " WHERE state IN ('SUBMITTED', 'ACTIVE') AND state = 'ACTIVE'"
            )
        return [_task(row) for row in rows]

    def accept(self, job_id: str, job: JobRequest, now: float) -> None:
        """Take a job; `now`, like every time here, is in seconds since 1970. DuplicateJob if the
        id is known."""
        first_turn = self._served.get(job.priority, 0)
        waits = in_order(job.job_type)
        head = (job.job_type.value, job.priority, job.verify.value, job.metadata, now)
        with self._transaction() as cursor:
            try:
                cursor.execute(
                    "INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, NULL, ?)",
                    (job_id, *head, len(job.files)),
                )
            except sqlite3.IntegrityError as known:
                raise DuplicateJob(job_id) from known
            cursor.executemany(
                "INSERT INTO files (job_id, position, source, destination, size, checksum,"
                " activity, overwrite, metadata, state, released, priority, turn)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'SUBMITTED', ?, ?, ?)",
                [
                    (*_row(job_id, at, file), at == 0 or not waits, job.priority, first_turn + at)
                    for at, file in enumerate(job.files)
                ],
            )

    def claim(self, now: float) -> Task | None:
        """Give the file whose turn it is to a worker; None if none waits."""
        return self.turn(None, now)

    def finish(self, outcome: Outcome, now: float) -> None:
        """Record how a claimed file ended, and what follows for the rest of its job. Does
        nothing if the file was cancelled meanwhile."""
        with self._transaction() as cursor:
            _finish(cursor, outcome, now)

    def turn(self, outcome: Outcome | None, now: float) -> Task | None:
        """`finish`, if there is an outcome, and `claim`, at once."""
        with self._transaction() as cursor:
            if outcome is not None:
                _finish(cursor, outcome, now)
            row = cursor.execute(_NEXT).fetchone()
            if row is None:
                return None
            cursor.execute(
                "UPDATE files SET state = 'ACTIVE', started_at = ? WHERE file_id = ?",
                (now, row[0]),
            )
            # A released hop keeps its early turn; the clock of turns never runs backwards.
            self._served[row[-2]] = max(self._served.get(row[-2], 0), row[-1])
        return _task(row)

    def cancel(self, job_id: str, spared: Sequence[int], now: float) -> None:
        """End all open files of a job but `spared` (file ids that are past stopping)."""
        with self._transaction() as cursor:
            ended = cursor.execute(
                "UPDATE files SET state = 'CANCELED', finished_at = ?, reason = ?"
                " WHERE job_id = ? AND state IN ('SUBMITTED', 'ACTIVE')"
                " AND file_id NOT IN (SELECT value FROM json_each(?))",
                (now, _CANCELED, job_id, json.dumps(list(spared))),
            ).rowcount
            _close_files(cursor, job_id, ended, now)

    def set_priority(self, job_id: str, priority: int) -> None:
        """Move a job's waiting files among those of another priority (1 to 5)."""
        with self._transaction() as cursor:
            cursor.execute("UPDATE jobs SET priority = ? WHERE job_id = ?", (priority, job_id))
            cursor.execute(
                "UPDATE files SET priority = ?, turn = position + ?"
                " WHERE job_id = ? AND state = 'SUBMITTED'",
                (priority, self._served.get(priority, 0), job_id),
            )

    def find(self, job_ids: Sequence[str]) -> dict[str, JobRecord]:
        """The jobs that are known, by id, each with all its files."""
        ids = json.dumps(list(job_ids))
        with self._transaction() as cursor:
            heads = cursor.execute(
                "SELECT job_id, job_type, priority, metadata, submitted_at, finished_at FROM jobs"
                " WHERE job_id IN (SELECT value FROM json_each(?))",
                (ids,),
            ).fetchall()
            files = cursor.execute(
                "SELECT job_id, file_id, position, source, destination, size, checksum, activity,"
                " metadata, state, reason, started_at, finished_at FROM files"
                " WHERE job_id IN (SELECT value FROM json_each(?)) ORDER BY job_id, position",
                (ids,),
            ).fetchall()
        by_job: dict[str, list[FileRecord]] = {head[0]: [] for head in heads}
        for row in files:
            by_job[row[0]].append(_file(row))
        return {
            head[0]: JobRecord(
                job_id=head[0],
                job_type=JobType(head[1]),
                priority=head[2],
                metadata=head[3],
                submitted_at=head[4],
                finished_at=head[5],
                files=tuple(by_job[head[0]]),
            )
            for head in heads
        }

    def counts(self) -> tuple[int, int]:
        """How many files wait, and how many are being copied."""
        with self._transaction() as cursor:
            open_files = dict(
                cursor.execute(
                    "SELECT state, count(*) FROM files INDEXED BY files_open"
                    " WHERE state IN ('SUBMITTED', 'ACTIVE') GROUP BY state"
                ).fetchall()
            )
        return open_files.get("SUBMITTED", 0), open_files.get("ACTIVE", 0)

    def purge(self, before: float, limit: int) -> int:
        """Forget at most `limit` jobs that were over before then; returns how many."""
        with self._transaction() as cursor:
            old = cursor.execute(
                "DELETE FROM jobs WHERE job_id IN (SELECT job_id FROM jobs"
                " WHERE finished_at < ? ORDER BY finished_at LIMIT ?) RETURNING job_id",
                (before, limit),
            ).fetchall()
            cursor.executemany("DELETE FROM files WHERE job_id = ?", old)
        return len(old)


def _finish(cursor: sqlite3.Cursor, outcome: Outcome, now: float) -> None:
    row = cursor.execute(
        "UPDATE files SET state = ?, reason = ?, finished_at = ?"
        " WHERE file_id = ? AND state = 'ACTIVE' RETURNING job_id, position",
        (outcome.state.value, outcome.reason, now, outcome.file_id),
    ).fetchone()
    if row is None:
        return
    job_id, position = row
    # Asked for by itself: inside of RETURNING, SQLite would look through all jobs.
    query = "SELECT job_type FROM jobs WHERE job_id = ?"
    (letter,) = cursor.execute(query, (job_id,)).fetchone()
    ended = 1
    match follow_up(JobType(letter), outcome.state):
        case FollowUp.RELEASE_NEXT:
            cursor.execute(
                "UPDATE files SET released = 1 WHERE job_id = ? AND position = ?"
                " AND state = 'SUBMITTED'",
                (job_id, position + 1),
            )
        case FollowUp.DROP_REST:
            ended += cursor.execute(
                "UPDATE files SET state = 'NOT_USED', finished_at = ?"
                " WHERE job_id = ? AND state = 'SUBMITTED'",
                (now, job_id),
            ).rowcount
        case FollowUp.NOTHING:
            pass
    _close_files(cursor, job_id, ended, now)


def _close_files(cursor: sqlite3.Cursor, job_id: str, ended: int, now: float) -> None:
    """Count down a job's open files; the job is over when none is left."""
    cursor.execute(
        "UPDATE jobs SET open_files = open_files - ?1,"
        " finished_at = CASE WHEN open_files = ?1 THEN ?2 ELSE finished_at END"
        " WHERE job_id = ?3 AND ?1 > 0",
        (ended, now, job_id),
    )


def _row(job_id: str, position: int, file: FileRequest) -> tuple[Any, ...]:
    return (
        job_id,
        position,
        file.source,
        file.destination,
        file.size,
        file.checksum,
        file.activity,
        file.overwrite,
        file.metadata,
    )


def _file(row: tuple[Any, ...]) -> FileRecord:
    return FileRecord(
        file_id=row[1],
        position=row[2],
        source=row[3],
        destination=row[4],
        size=row[5],
        checksum=row[6],
        activity=row[7],
        metadata=row[8],
        state=FileState(row[9]),
        reason=row[10],
        started_at=row[11],
        finished_at=row[12],
    )


def _task(row: tuple[Any, ...]) -> Task:
    file_id, job_id, position, source, destination, size, checksum, verify, overwrite, resumed = (
        row[:10]
    )
    return Task(
        file_id=file_id,
        job_id=job_id,
        label=str(uuid.uuid5(_LABELS, f"{job_id}/{position}")),
        source=source,
        destination=destination,
        size=size,
        checksum=checksum,
        verify=Verify(verify),
        overwrite=bool(overwrite),
        resumed=bool(resumed),
    )
