"""Everything that can go wrong, as one tree.

    InjectError
    ├── UsageError                 the request itself is wrong
    │   ├── CampaignInvalid        … because of the campaign file
    │   └── NothingToInject        … because its source offers no file
    ├── SourceUnavailable          what names the source's files is away: worth trying again
    ├── Interrupted                somebody asked us to stop
    ├── DeadlinePassed             the lake did not do it in time
    ├── LedgerError                the record on disk cannot be read, written or trusted
    │   ├── LedgerOlder            … before a run has brought it up to date
    │   └── LedgerUnavailable      … now: it is held, its disk is full, its server is away
    ├── AnalysisFailed             a file read back is no ROOT file, or its figures cannot be made
    ├── DiskFull                   this machine's disk has no room: all files are concerned
    ├── LakeError                  the embedded lake
    ├── CatalogueError             what Rucio answered
    │   ├── SignInFailed
    │   ├── CatalogueUnavailable   worth trying again
    │   ├── NotFound               an RSE, a DID, a scope, a rule that is not there
    │   ├── NotPermitted
    │   ├── QuotaExceeded
    │   └── CatalogueRefused       any other refusal
    ├── StorageError               what an RSE's storage answered
    │   ├── StorageUnavailable     worth trying again
    │   ├── ReplicaMissing
    │   └── StorageRefused
    │       └── PlaceTaken         something else lies where the file is to be
    └── FileRefused                one file cannot go on; the others do
        ├── NameRefused            its name is not of the grammar
        ├── SourceUnreadable       it is not there, or may not be read
        ├── SourceChanged          its bytes changed while they were read, or since
        ├── SourceIsReplica        it is itself what an RSE holds
        ├── ContentConflict        the catalogue holds this DID with other content
        ├── ReplicaBusy            its replica is being brought or removed by somebody else
        ├── ChecksumMismatch       the bytes read back are not the bytes that went in
        └── SourceMismatch         its bytes are not what the checksums that came with it say

An error says what happened; `hint` says what to do next. `code` is stable: it is what ledgers,
metrics and scripts match on. Only the command line turns errors into text and exit codes.
"""

from __future__ import annotations

from typing import ClassVar


class InjectError(Exception):
    """The root of the tree.

    `message` names the thing and the reason; `hint` is what the reader can do about it.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(InjectError):
    """The request itself is wrong: nothing was done."""

    code = "usage"


class CampaignInvalid(UsageError):
    """The campaign file cannot be used: `problems` are (line, where, reason), line 1 the first."""

    code = "campaign-invalid"

    def __init__(
        self,
        message: str,
        *,
        problems: tuple[tuple[int, str, str], ...] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


class NothingToInject(UsageError):
    """The source can be looked into and has nothing that we were asked to take."""

    code = "nothing-to-inject"


class SourceUnavailable(InjectError):
    """What names the source's files, as a site's database, cannot answer now."""

    code = "source-unavailable"


class Interrupted(InjectError):
    """Somebody asked us to stop; what was done is on record."""

    code = "interrupted"


class DeadlinePassed(InjectError):
    """The lake did not finish in the time that the campaign gives it."""

    code = "deadline"


class LedgerError(InjectError):
    """The record on disk cannot be read, written or trusted."""

    code = "ledger"


class LedgerOlder(LedgerError):
    """The ledger is of an older schema that the next run brings up to date."""


class LedgerUnavailable(LedgerError):
    """Somebody else holds the ledger, its disk is full or its server away; it may work later."""

    code = "ledger-unavailable"

    def __init__(self, message: str, *, hint: str | None = None, holder: str | None = None) -> None:
        """`holder` is who holds it; None if that is not why."""
        super().__init__(message, hint=hint)
        self.holder = holder


class AnalysisFailed(InjectError):
    """A file read back cannot be opened as what it should be, or its figures cannot be made."""

    code = "analysis"


class DiskFull(InjectError):
    """This machine's disk has no room for what is made or read back; all files are concerned."""

    code = "disk-full"


class LakeError(InjectError):
    """The embedded lake cannot do what was asked of it."""

    code = "lake"


class CatalogueError(InjectError):
    """What Rucio answered."""

    code = "catalogue"


class SignInFailed(CatalogueError):
    """Rucio does not know us: wrong or expired credentials, or no account for them."""

    code = "sign-in"


class CatalogueUnavailable(CatalogueError):
    """Rucio cannot be reached or cannot answer now; the same call may succeed later."""

    code = "catalogue-unavailable"


class NotFound(CatalogueError):
    """An RSE, a scope, a DID or a rule is not in the catalogue."""

    code = "not-found"


class NotPermitted(CatalogueError):
    """The account may not do this."""

    code = "not-permitted"


class QuotaExceeded(CatalogueError):
    """The account's limit, or the RSE's space, does not hold what the rule asks for."""

    code = "quota"


class CatalogueRefused(CatalogueError):
    """Any other refusal: asking again the same way will not help."""

    code = "catalogue-refused"


class StorageError(InjectError):
    """What the storage behind an RSE answered."""

    code = "storage"


class StorageUnavailable(StorageError):
    """The storage cannot be reached or cannot answer now; the same call may succeed later."""

    code = "storage-unavailable"


class ReplicaMissing(StorageError):
    """The storage does not hold a file that it should hold."""

    code = "replica-missing"


class StorageRefused(StorageError):
    """The storage refuses: no permission, no space, not supported."""

    code = "storage-refused"


class ProtocolUnusable(StorageRefused):
    """An RSE's protocol does not work on this machine; another one may."""


WORTH_ANOTHER_WAY = (StorageUnavailable, ProtocolUnusable)
"""For these an RSE's next protocol is tried; all others say the same on every way."""


class PlaceTaken(StorageRefused):
    """Something lies already at `pfn`, where a file is to be stored; it was not touched."""

    code = "place-taken"

    def __init__(self, message: str, *, pfn: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.pfn = pfn


class FileRefused(InjectError):
    """One file cannot go on; the others do."""

    code = "file-refused"


class NameRefused(FileRefused):
    """A name that is not of the grammar, or that the catalogue would not take."""

    code = "name"


class SourceUnreadable(FileRefused):
    """The source file is not there, or may not be read."""

    code = "source-unreadable"


class SourceChanged(FileRefused):
    """The source file changed while it was read, or since it was measured."""

    code = "source-changed"


class SourceIsReplica(FileRefused):
    """The source file is itself what an RSE holds: with the one the other would go."""

    code = "source-is-replica"


class ContentConflict(FileRefused):
    """The catalogue holds this DID with other content; nothing was touched."""

    code = "conflict"


class ReplicaBusy(FileRefused):
    """The catalogue has a replica that cannot be read, and that is not ours to write or remove."""

    code = "replica-state"


class ChecksumMismatch(FileRefused):
    """Bytes read back from the lake are not the bytes that went in."""

    code = "checksum-mismatch"


class SourceMismatch(FileRefused):
    """A source file is not what the checksums that came with it say: it is not taken."""

    code = "source-mismatch"
