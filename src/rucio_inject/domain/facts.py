"""What happened, one typed value a fact.

Ledger, progress, counts and figures are all made of these, so that nothing is told twice. The
facts called *begun* or *asked* are intents: they are on disk before the side effect that they
announce.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rucio_inject.domain.checksum import Announced, Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileState
from rucio_inject.domain.rule import RuleRequest, RuleView
from rucio_inject.domain.usage import Room, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that happened at a moment (UTC)."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFact(Fact):
    """Something that happened to one file."""

    did: DID


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleBegun(Fact):
    """A cycle begins, a set of files with one beginning and one end; or it begins again, because
    a new file was found."""

    cycle: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleEnded(Fact):
    """Every file of the cycle has come to its end."""

    cycle: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeMade(Fact):
    """A scope was made for an account; it stays, as nothing in Rucio removes one."""

    scope: str
    account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRSEChosen(Fact):
    """New files will be uploaded to this RSE; told when it is another one than before."""

    rse: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainOrdered(Fact):
    """The campaign is drained from now on: runs take no new files, and finish those under way. Or,
    if not `on`, it is no longer. `by` is a person, with the machine."""

    on: bool
    by: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeAsked(Fact):
    """Intent: an attribute of an RSE is about to be changed; `before` is None where it has none."""

    rse: str
    key: str
    before: str | bool | int | None
    value: str | bool | int


@dataclass(frozen=True, slots=True, kw_only=True)
class NameSkipped(Fact):
    """Something at the source is no file for the lake: its name does not parse."""

    path: str
    code: str
    reason: str
    hint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFound(FileFact):
    """A file is to be injected: its DID, dataset and containers (outermost first) are decided.
    `announced` came with it about its content; `in_place`: it is at an RSE already, and `path` is
    its PFN there."""

    path: str
    dataset: DID
    containers: tuple[DID, ...]
    cycle: int
    generated: bool
    metadata: Mapping[str, str | int] = field(default_factory=dict)
    announced: Announced | None = None
    in_place: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAnnounced(FileFact):
    """What came with a file about its content is another thing now; it was not measured yet."""

    announced: Announced | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeasured(FileFact):
    """The source was read once, from its first byte to its last."""

    measure: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadBegun(FileFact):
    """Intent: bytes are about to be written to the storage of an RSE."""

    rse: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLeftNothing(FileFact):
    """An upload failed, and nothing lies under the file's name at an RSE: nothing came there, or it
    was taken back."""

    rse: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileUploaded(FileFact):
    """The storage holds the bytes under their final name. `in_place`: it did before we came."""

    rse: str
    pfn: str
    in_place: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRegistered(FileFact):
    """The catalogue has the DID and its replica. `adopted`: it had them before we came."""

    rse: str
    pfn: str | None
    adopted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOrganised(FileFact):
    """The file is in its dataset, and the dataset has its rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDescribed(FileFact):
    """The catalogue has the metadata that the file's name tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionAsked(Fact):
    """Intent: a dataset or container that the catalogue does not have is about to be made."""

    did: DID


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleAsked(Fact):
    """Intent: a rule is about to be asked for."""

    dataset: DID
    request: RuleRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRefused(Fact):
    """A rule that was asked for was not made: one that comes later is somebody else's."""

    dataset: DID
    request: RuleRequest
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleMade(Fact):
    """A dataset has a rule that was asked for. `adopted`: Rucio had it before."""

    dataset: DID
    rule_id: str
    request: RuleRequest
    adopted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleChanged(Fact):
    """Rucio shows a rule in another state, or with other lock counts, than before."""

    view: RuleView


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaReady(FileFact):
    """A lock on the file is OK: the RSE holds a replica."""

    rse: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReplicated(FileFact):
    """Every lock of every rule on the file is OK; `rses` are where they are."""

    rses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileWaits(FileFact):
    """The file is not everywhere it should be yet, and why; it is not given up."""

    rse: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaRead(FileFact):
    """A replica was read back, whole; `measure` is of the bytes that came."""

    rse: str
    pfn: str
    measure: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaTold(FileFact):
    """A replica's storage was asked for its size and adler32; nobody read it here."""

    rse: str
    pfn: str
    size: int
    adler32: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVerified(FileFact):
    """The file was read back from every RSE that should hold it; all bytes were the same.
    `sampled`: it is not of the sample that is read, and every storage told its size and adler32."""

    sampled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisMade(Fact):
    """Figures and numbers were made from the bytes that came back from the lake."""

    files: int
    events: int
    headline: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSetBack(FileFact):
    """What was proved of a file no longer holds: it goes on from an earlier state."""

    state: FileState
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleEnding(Fact):
    """Intent: a rule is about to be given its lifetime (seconds) and told to purge. `at_origin`: it
    keeps files where they were before us, and the dataset's other rules go on without it."""

    rule_id: str
    lifetime: int
    at_origin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleKept(Fact):
    """The end of a rule was taken back, or never came to it."""

    rule_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileExpiring(FileFact):
    """Every rule on the file has been given its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleGone(Fact):
    """Rucio no longer has the rule."""

    rule_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaGone(FileFact):
    """Neither catalogue nor storage has the replica on this RSE any more."""

    rse: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileGone(FileFact):
    """No RSE has a replica of the file any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFreeing(FileFact):
    """Intent: the source copy is about to be removed; one at an RSE by Rucio, when the rule ends
    that keeps it there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFreed(FileFact):
    """The source copy was removed; only ever after the file was verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceKept(FileFact):
    """A source copy at an RSE that was to be removed stays: the rule that keeps it has no end."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSentAgain(FileFact):
    """A source copy that was removed is there again; `measure` is of the bytes that it has."""

    measure: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionClosing(Fact):
    """Intent: a dataset that we made and that is complete is about to be closed."""

    did: DID


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionEnding(Fact):
    """Intent: a dataset or container that we made is about to be given its end."""

    did: DID


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionGone(Fact):
    """A dataset or container that we made is no longer in the catalogue."""

    did: DID


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFailed(FileFact):
    """The file cannot go on; the others do."""

    code: str
    reason: str
    hint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRetried(FileFact):
    """A file that had failed goes on from the state it came from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRetried(Fact):
    """Rucio or a storage could not answer; it is asked again after `pause` seconds. For onlookers
    only: nothing has changed."""

    call: str
    reason: str
    pause: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialEnds(Fact):
    """What a run signs in with ends soon, and is not renewed. For onlookers only."""

    ends: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RSECounted(Fact):
    """An RSE was counted, by the catalogue's counters and by listing the storage itself.

    A witness that could not be asked is None: it says nothing, which is not zero.
    """

    rse: str
    catalogue: Usage | None
    storage: Usage | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairAsked(Fact):
    """Intent: an audit is about to repair what it found; `subject` is a DID or a rule's id."""

    finding: str
    subject: str
    rse: str | None
    repair: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairMade(Fact):
    """What came of a repair; `error` says why it was not made, and is None if it was."""

    finding: str
    subject: str
    rse: str | None
    repair: str
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBegun(Fact):
    """A process takes up the campaign. Without a `RunEnded` after it, that process was killed, or
    is at work still."""

    process: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Fact):
    """The process has done what it could; `code` is its exit code, `words` say how it came out, and
    `origin` how full the place of real files was then, where that is known."""

    code: int
    words: str
    seconds: float
    origin: Room | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LookEnded(Fact):
    """A look of a watch has done what it could, or could not; `code` and `words` are those of a run
    that ends so. For onlookers only: the watch goes on."""

    code: int
    words: str
