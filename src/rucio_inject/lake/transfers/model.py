"""Jobs, files, their states, and what follows from them: FTS3's rules, without any I/O.

Source of the states: https://fts3-docs.web.cern.ch/fts3-docs/docs/state_machine.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

LOWEST_PRIORITY = 1
DEFAULT_PRIORITY = 3
HIGHEST_PRIORITY = 5


class Clock(Protocol):
    """Time, so that tests can decide it; `rucio_inject.ports.Clock` is one."""

    def now(self) -> datetime:
        """This moment, UTC, with its time zone."""
        ...


class FileState(Enum):
    """Where one file of a job stands."""

    SUBMITTED = "SUBMITTED"
    """Accepted and on disk; no worker has it."""
    ACTIVE = "ACTIVE"
    """A worker copies it."""
    FINISHED = "FINISHED"
    """It is at its destination, whole and verified."""
    FAILED = "FAILED"
    """It is not; the reason says why."""
    CANCELED = "CANCELED"
    """Somebody asked for its end before it was done."""
    NOT_USED = "NOT_USED"
    """Not tried: another source served, or an earlier hop failed."""

    @property
    def final(self) -> bool:
        """Whether nothing will happen to the file any more."""
        return self not in {FileState.SUBMITTED, FileState.ACTIVE}


class JobState(Enum):
    """Where a whole job stands; derived from its files."""

    SUBMITTED = "SUBMITTED"
    """No file was begun."""
    ACTIVE = "ACTIVE"
    """Some files were begun, and some are still to be done."""
    FINISHED = "FINISHED"
    """All that the job promised is done."""
    FINISHEDDIRTY = "FINISHEDDIRTY"
    """Over, with some files done and some not."""
    FAILED = "FAILED"
    """Over, with nothing done, or with a hop missing."""
    CANCELED = "CANCELED"
    """Over, because somebody ended it."""


class JobType(Enum):
    """How the files of a job belong together; the values are FTS3's letters."""

    REGULAR = "N"
    """Files on their own."""
    MULTIPLE_REPLICA = "R"
    """One file with several sources, tried in order until one serves."""
    MULTI_HOP = "H"
    """Hops of one path, in order; the first failure ends it."""
    SESSION_REUSE = "Y"
    """Files on their own that would share a connection."""


class Verify(Enum):
    """Where the checksum is compared; the values are those of `verify_checksum`."""

    BOTH = "both"
    """At the source and at the destination."""
    SOURCE = "source"
    """Of the bytes as they were read."""
    TARGET = "target"
    """Of the bytes as they were written, read back."""
    NONE = "none"
    """Nowhere; sizes still are."""

    @property
    def at_source(self) -> bool:
        """Whether the bytes read are compared."""
        return self in {Verify.BOTH, Verify.SOURCE}

    @property
    def at_target(self) -> bool:
        """Whether the bytes written are read back and compared."""
        return self in {Verify.BOTH, Verify.TARGET}


class FollowUp(Enum):
    """What one file's end means for the files after it in its job."""

    NOTHING = "nothing"
    """They do not depend on it."""
    RELEASE_NEXT = "release-next"
    """The next one may be tried now."""
    DROP_REST = "drop-rest"
    """They will not be tried."""


@dataclass(frozen=True, slots=True)
class FileRequest:
    """One copy that somebody asks for. `size` in bytes and `checksum` (`ALGORITHM:value`) are what
    the asker expects, or None; `metadata` is JSON text, given back unchanged."""

    source: str
    destination: str
    size: int | None
    checksum: str | None
    activity: str
    overwrite: bool
    metadata: str


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What one `POST /jobs` asks for, checked. `seed` is set when the job's id must follow from it
    (FTS3's deterministic ids); `metadata` is JSON text, given back unchanged."""

    job_type: JobType
    priority: int
    verify: Verify
    metadata: str
    seed: str | None
    files: tuple[FileRequest, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """One copy for a worker. `label` is unique to the file and the same after a restart; `resumed`
    says that an earlier process had begun it and cannot tell how far it came."""

    file_id: int
    job_id: str
    label: str
    source: str
    destination: str
    size: int | None
    checksum: str | None
    verify: Verify
    overwrite: bool
    resumed: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a claimed file ended: FINISHED, or FAILED with its reason."""

    file_id: int
    state: FileState
    reason: str | None


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file as the store knows it; times in seconds since 1970, None before they happened."""

    file_id: int
    position: int
    source: str
    destination: str
    size: int | None
    checksum: str | None
    activity: str
    metadata: str
    state: FileState
    reason: str | None
    started_at: float | None
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job as the store knows it, with its files in order."""

    job_id: str
    job_type: JobType
    priority: int
    metadata: str
    submitted_at: float
    finished_at: float | None
    files: tuple[FileRecord, ...]

    @property
    def state(self) -> JobState:
        """See `job_state`."""
        return job_state(self.job_type, [file.state for file in self.files])


def job_state(job_type: JobType, files: Sequence[FileState]) -> JobState:
    """What the states of a job's files (at least one) make of the job."""
    seen = set(files)
    if job_type is JobType.MULTIPLE_REPLICA and FileState.FINISHED in seen:
        return JobState.FINISHED
    if job_type is JobType.MULTI_HOP and FileState.FAILED in seen:
        return JobState.FAILED
    if not all(state.final for state in seen):
        return JobState.SUBMITTED if seen == {FileState.SUBMITTED} else JobState.ACTIVE
    if FileState.CANCELED in seen:
        return JobState.CANCELED
    if seen == {FileState.FINISHED}:
        return JobState.FINISHED
    return JobState.FINISHEDDIRTY if FileState.FINISHED in seen else JobState.FAILED


def follow_up(job_type: JobType, ended: FileState) -> FollowUp:
    """What a file that ended FINISHED or FAILED means for the files after it."""
    if job_type is JobType.MULTIPLE_REPLICA:
        return FollowUp.DROP_REST if ended is FileState.FINISHED else FollowUp.RELEASE_NEXT
    if job_type is JobType.MULTI_HOP:
        return FollowUp.RELEASE_NEXT if ended is FileState.FINISHED else FollowUp.DROP_REST
    return FollowUp.NOTHING


def in_order(job_type: JobType) -> bool:
    """Whether the files of such a job wait for one another."""
    return job_type in {JobType.MULTIPLE_REPLICA, JobType.MULTI_HOP}


def clamp_priority(priority: int) -> int:
    """The nearest priority that FTS3 knows: 1 (last) to 5 (first)."""
    return max(LOWEST_PRIORITY, min(HIGHEST_PRIORITY, priority))
