"""The life of a file: its states, the moves between them, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from rucio_inject.domain.checksum import Announced, Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.rule import RuleState


class FileState(StrEnum):
    """How far a file has come. Each state says what is proved, not what is under way."""

    FOUND = "FOUND"
    """Its name is understood; its DID and dataset are decided."""
    MEASURED = "MEASURED"
    """Size, adler32 and md5 are known from one pass over the source."""
    UPLOADED = "UPLOADED"
    """Its bytes are on the storage of the upload RSE."""
    REGISTERED = "REGISTERED"
    """The catalogue has the DID and its replica, with these checksums."""
    REPLICATING = "REPLICATING"
    """It is in its dataset, and the dataset has its rules."""
    REPLICATED = "REPLICATED"
    """Every lock of every rule on it is OK."""
    VERIFIED = "VERIFIED"
    """It was read back from every RSE that should hold it, and the bytes were the same; or, where
    the campaign reads a sample that it is not of, every storage told its size and checksum."""
    EXPIRING = "EXPIRING"
    """Its rules have been given their end."""
    GONE = "GONE"
    """Neither catalogue nor storage holds a replica of it any more."""
    QUARANTINED = "QUARANTINED"
    """It cannot go on; the reason and the state it came from are on record."""


_FORWARD = {
    FileState.FOUND: {FileState.MEASURED},
    # A file that the catalogue already holds with the same checksums skips the upload.
    FileState.MEASURED: {FileState.UPLOADED, FileState.REGISTERED},
    FileState.UPLOADED: {FileState.REGISTERED},
    FileState.REGISTERED: {FileState.REPLICATING},
    FileState.REPLICATING: {FileState.REPLICATED},
    FileState.REPLICATED: {FileState.VERIFIED},
    FileState.VERIFIED: {FileState.EXPIRING},
    FileState.EXPIRING: {FileState.GONE},
    FileState.GONE: set(),
}
MOVES: Mapping[FileState, frozenset[FileState]] = MappingProxyType(
    {state: frozenset(after | {FileState.QUARANTINED}) for state, after in _FORWARD.items()}
    # Out of quarantine leads a retry only, to the state that the file came from.
    | {FileState.QUARANTINED: frozenset({FileState.QUARANTINED})}
)
"""Where a file may go as more is proved, or as it fails."""
# Once its end is asked for there is no way back.
_TO_BE_BROUGHT, _TO_BE_ORGANISED = FileState.MEASURED, FileState.REGISTERED
_TO_BE_AWAITED = FileState.REPLICATING
BACK: Mapping[FileState, frozenset[FileState]] = MappingProxyType(
    {
        FileState.UPLOADED: frozenset({_TO_BE_BROUGHT}),
        FileState.REGISTERED: frozenset({_TO_BE_BROUGHT}),
        FileState.REPLICATING: frozenset({_TO_BE_BROUGHT, _TO_BE_ORGANISED}),
        FileState.REPLICATED: frozenset({_TO_BE_BROUGHT, _TO_BE_ORGANISED, _TO_BE_AWAITED}),
        FileState.VERIFIED: frozenset({_TO_BE_BROUGHT, _TO_BE_ORGANISED, _TO_BE_AWAITED}),
    }
)
"""Where a file may go when somebody took away, behind our back, what was proved, or when more is
promised than was."""
ORDER: tuple[FileState, ...] = tuple(_FORWARD)


def reached(state: FileState, goal: FileState) -> bool:
    """Whether a file in `state` has come as far as `goal`; a quarantined one has not."""
    return state is not FileState.QUARANTINED and ORDER.index(state) >= ORDER.index(goal)


class SourceCopy(StrEnum):
    """What became of the file at its source."""

    KEPT = "KEPT"
    """Still there, or at least not removed by us."""
    FREEING = "FREEING"
    """About to be removed by us; a crash may have kept off the record that it was."""
    FREED = "FREED"
    """Removed by us, after the file was verified."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a file cannot go on: a stable code, the reason in words, and what to do."""

    code: str
    reason: str
    hint: str | None
    came_from: FileState
    at: datetime


@dataclass(frozen=True, slots=True)
class ReplicaRecord:
    """What is known of a file on one RSE; times are UTC. `told` is what its storage said of it when
    it was asked for the checksum."""

    pfn: str | None = None
    registered_at: datetime | None = None
    read_back_at: datetime | None = None
    read_back: Measure | None = None
    gone_at: datetime | None = None
    told_at: datetime | None = None
    told: Announced | None = None


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Everything on record of one file of a campaign.

    `path` is where the source copy lies; `generated` says that we made it and may remove it at the
    end, `in_place` that it is a PFN at the upload RSE, where the file was before us. `replicas`
    maps RSE names, `metadata` the names of metadata keys. `announced` is what came with the file
    about its content.
    """

    did: DID
    path: str
    dataset: DID
    containers: tuple[DID, ...]
    cycle: int
    found_at: datetime
    generated: bool
    metadata: Mapping[str, str | int] = field(default_factory=dict)
    state: FileState = FileState.FOUND
    source: SourceCopy = SourceCopy.KEPT
    measure: Measure | None = None
    measured_at: datetime | None = None
    upload_rse: str | None = None
    upload_begun_at: datetime | None = None
    uploaded_at: datetime | None = None
    adopted: bool = False
    described_at: datetime | None = None
    freed_at: datetime | None = None
    replicas: Mapping[str, ReplicaRecord] = field(default_factory=dict)
    waits_for: str | None = None
    failure: Failure | None = None
    announced: Announced | None = None
    in_place: bool = False
    nothing_left_at: datetime | None = None
    """When the upload that was begun last had failed, and was seen to have left nothing."""
    sampled: bool = False
    """VERIFIED without having been read: others of its dataset were."""

    def leaves(self, rse: str) -> bool:
        """Whether the replica on an RSE is the source copy, and is given up: Rucio may remove it
        at any time, or has."""
        given_up = self.source is not SourceCopy.KEPT
        return self.in_place and given_up and rse == self.upload_rse


@dataclass(frozen=True, slots=True)
class RuleRecord:
    """Everything on record of one rule that a campaign asked for. `at_origin`: it was given its end
    to free the origin, and the dataset's other rules go on."""

    cycle: int
    rule_id: str
    dataset: DID
    rse_expression: str
    copies: int
    lifetime: int
    made_at: datetime
    adopted: bool
    state: RuleState = RuleState.INJECT
    changed_at: datetime | None = None
    error: str | None = None
    ok_at: datetime | None = None
    ending_at: datetime | None = None
    gone_at: datetime | None = None
    at_origin: bool = False

    @property
    def ends_dataset(self) -> bool:
        """Whether it was given its end, or began to be, with the dataset's other rules."""
        return self.ending_at is not None and not self.at_origin
