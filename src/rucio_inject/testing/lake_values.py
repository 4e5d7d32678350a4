"""What an in-memory lake is made of: replicas, files, collections, rules with locks, RSEs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.rule import LockState, RuleRequest, RuleState
from rucio_inject.ports import AttributeValue


@dataclass(slots=True)
class LakeReplica:
    """A replica; `tombstone` is when the reaper may take it."""

    pfn: str
    state: ReplicaState
    tombstone: datetime | None = None


@dataclass(slots=True)
class LakeFile:
    """A file DID with its replicas by RSE."""

    measure: Measure
    metadata: dict[str, str | int] = field(default_factory=dict)
    replicas: dict[str, LakeReplica] = field(default_factory=dict)


@dataclass(slots=True)
class LakeCollection:
    """A dataset or container; its contents keep their order."""

    kind: DIDType
    contents: dict[DID, None] = field(default_factory=dict)
    expired_at: datetime | None = None


@dataclass(slots=True)
class LakeLock:
    """One promised replica of a rule."""

    state: LockState
    attempts: int = 0
    reason: str | None = None


@dataclass(slots=True)
class LakeRule:
    """A replication rule with its locks by file and RSE."""

    did: DID
    request: RuleRequest
    account: str
    locks: dict[tuple[DID, str], LakeLock] = field(default_factory=dict)
    expires_at: datetime | None = None
    purge: bool = False
    error: str | None = None
    child_rule_id: str | None = None
    brings: bool = True
    """Whether it brings replicas, or only keeps what is there."""

    def state(self) -> RuleState:
        """As Rucio derives it from the locks: none at all is OK."""
        states = {lock.state for lock in self.locks.values()}
        if LockState.STUCK in states or self.error:
            return RuleState.STUCK
        return RuleState.REPLICATING if LockState.REPLICATING in states else RuleState.OK


@dataclass(slots=True)
class LakeRSE:
    """An RSE and its storage: bytes by PFN, and what is wrong with it."""

    attributes: dict[str, AttributeValue]
    bytes: dict[str, bytes] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    free: int | None = None
    """The room that its site told the lake of."""
    blocked: bool = False
    """Its site lets nobody write."""
    fails_transfers: str | None = None
    """Every transfer to it fails for this reason."""
    hangs: bool = False
    """No transfer to it ever ends."""
    refuses_writes: bool = False
    refuses_deletion: bool = False
    """The catalogue forgets what the reaper deletes, and the bytes stay: Rucio's posix protocol
    reports a file deleted that it may not delete."""
    unreaped: bool = False
    """The reaper passes it by: Rucio was told that nothing is to be deleted there now."""
    offline: bool = False
    """Its storage cannot be reached."""
    frozen_attributes: bool = False
    """Attributes are taken and not kept, as a site's policy may do."""
