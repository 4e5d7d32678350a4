"""Files that are in their datasets and on no RSE any more: Rucio has nothing left to copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rucio_inject.batches import batches, divided
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError, SourceUnreadable
from rucio_inject.domain.facts import Fact, FileWaits, ReplicaReady
from rucio_inject.domain.injection import FileRecord
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.ports import Catalogue, KnownFile, NewFile
from rucio_inject.steps.compare import conflict, measure_of
from rucio_inject.steps.in_place import TakeAsTheyLie
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.recheck import has_source, lost
from rucio_inject.steps.upload import UploadFiles
from rucio_inject.steps.watch import WAITING

# A replica in one of these is one that a rule is to bring, and cannot.
_AWAITED = frozenset({ReplicaState.COPYING, ReplicaState.UNAVAILABLE})
_RESTORED = "none of its replicas was left; it was brought here again, and Rucio has yet to copy it"


class RestoreFiles:
    """Brings files to the upload RSE again whose every replica was taken before Rucio had copied
    them: its reaper may take a source between two tries of a transfer (rucio issue 6513).

    They stay in their datasets, whose rules wait for them. Only files are looked at that an
    earlier run has seen waiting for a reason.
    """

    def __init__(
        self, journal: Journal, catalogue: Catalogue, upload: UploadFiles | TakeAsTheyLie, rse: str
    ) -> None:
        self._journal = journal
        self._catalogue = catalogue
        self._upload = upload
        self._rse = rse

    def run(self) -> None:
        """Look at the files that wait; bring those that are nowhere. Each one's failure is its
        own."""
        waiting = self._journal.ledger.files(WAITING)
        for files in batches(record for record in waiting if record.waits_for is not None):
            self._journal.clock.check()
            known = self._catalogue.look_up([record.did for record in files])
            bare = [r for r in files if r.did in known and self._is_bare(known[r.did])]
            if bare:
                self._restore(list(self._with_source(bare, known)))

    def _is_bare(self, known: KnownFile) -> bool:
        """Whether there is nothing to copy from. A replica at the upload RSE in any other state may
        be there again soon, or is another's business."""
        here = known.replicas.get(self._rse)
        nowhere = not any(replica.available for replica in known.replicas.values())
        return nowhere and (here is None or here.state in _AWAITED)

    def _with_source(
        self, files: Sequence[FileRecord], known: Mapping[DID, KnownFile]
    ) -> Iterator[FileRecord]:
        for record in files:
            error: InjectError | None = conflict(record, known[record.did])
            try:
                if error is None and not has_source(record):
                    error = lost(record, f"{record.did} is on no RSE any more")
            except SourceUnreadable as unreadable:
                error = unreadable
            if error is None:
                yield record
            else:
                self._journal.tell([self._journal.failed(record.did, error)])

    def _restore(self, files: Sequence[FileRecord]) -> None:
        for outcomes in self._upload.again(files):
            brought = [record for record, out in outcomes if not isinstance(out, InjectError)]
            failed = {r.did: out for r, out in outcomes if isinstance(out, InjectError)}
            self._declare(brought, failed)
            self._journal.tell(self._journal.failed(did, error) for did, error in failed.items())

    def _declare(self, files: Sequence[FileRecord], failed: dict[DID, InjectError]) -> None:
        def declare(some: Sequence[FileRecord]) -> None:
            new = [NewFile(r.did, measure_of(r), r.path if r.in_place else None) for r in some]
            self._catalogue.restore_files(self._rse, new)

        divided(files, declare, lambda record, error: failed.update({record.did: error}))
        now = self._journal.clock.now()
        facts: list[Fact] = []
        for record in files:
            if record.did not in failed:
                facts.append(ReplicaReady(at=now, did=record.did, rse=self._rse))
                facts.append(FileWaits(at=now, did=record.did, rse=self._rse, reason=_RESTORED))
        self._journal.tell(facts)
