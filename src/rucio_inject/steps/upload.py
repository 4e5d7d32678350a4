"""Bringing bytes to the upload RSE, and declaring them in the catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    ContentConflict,
    InjectError,
    LedgerError,
    SourceChanged,
    StorageRefused,
)
from rucio_inject.domain.facts import (
    Fact,
    FileMeasured,
    FileRegistered,
    FileUploaded,
    UploadBegun,
)
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.ports import Catalogue, KnownFile, NewFile, Source, Storage
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.measure import make_folder, measure_file
from rucio_inject.steps.pool import in_threads

BATCH = 500


class CompareWithCatalogue:
    """Asks Rucio before anything is written: what is there already is not done again."""

    def __init__(self, journal: Journal, catalogue: Catalogue, rse: str) -> None:
        self._journal = journal
        self._catalogue = catalogue
        self._rse = rse

    def run(self, files: Sequence[FileRecord]) -> None:
        """Compare files that are not registered yet with what the catalogue has.

        The same content: REGISTERED without an upload. Other content: refused, nothing touched.
        """
        new = [r for r in files if r.state in {FileState.MEASURED, FileState.UPLOADED}]
        known = self._catalogue.look_up([record.did for record in new]) if new else {}
        facts = [self._fact(record, known[record.did]) for record in new if record.did in known]
        self._journal.tell(fact for fact in facts if fact is not None)
        self._refuse_collections([record.did for record in new if record.did not in known])

    def _refuse_collections(self, dids: Sequence[DID]) -> None:
        """Refuse files whose DID is a dataset or a container: one of them would else be the end
        of a call that registers many."""
        taken = frozenset(dids) - self._catalogue.missing(dids) if dids else frozenset()
        self._journal.tell(
            self._journal.failed(
                did,
                ContentConflict(
                    f"{did} is in the catalogue as a dataset or container",
                    hint="a DID is for ever: give the file another name, or use another scope",
                ),
            )
            for did in sorted(taken)
        )

    def _fact(self, record: FileRecord, known: KnownFile) -> Fact | None:
        difference = known.conflict(_measure(record))
        if difference is not None:
            error = ContentConflict(
                f"{record.did} is in the catalogue with other content ({difference})",
                hint="a DID is for ever: give the file another name, or find out whose that is",
            )
            return self._journal.failed(record.did, error)
        replica = known.replicas.get(self._rse)
        if replica is None or not replica.available:
            # The DID is known but not here: the bytes are still to be brought.
            return None
        return FileRegistered(
            at=self._journal.clock.now(),
            did=record.did,
            rse=self._rse,
            pfn=replica.pfn,
            # An upload of ours whose outcome was lost is no adoption.
            adopted=record.upload_begun_at is None,
        )


class UploadFiles:
    """Copies measured files to the upload RSE, and proves what arrived by reading it again."""

    def __init__(
        self,
        journal: Journal,
        source: Source,
        storage: Storage,
        *,
        rse: str,
        work: Path,
        workers: int,
    ) -> None:
        """`work` is a folder for what is read again from storages that are not on this machine."""
        self._journal = journal
        self._source = source
        self._storage = storage
        self._rse = rse
        self._work = work
        self._workers = workers

    def run(self, files: Sequence[FileRecord]) -> None:
        """Upload the MEASURED ones. Each file's failure is its own."""
        measured = [record for record in files if record.state is FileState.MEASURED]
        clock = self._journal.clock
        self._journal.tell(
            UploadBegun(at=clock.now(), did=record.did, rse=self._rse) for record in measured
        )
        for batch in in_threads(measured, self._upload, workers=self._workers, clock=clock):
            facts: list[Fact] = []
            for record, outcome in batch:
                if isinstance(outcome, InjectError):
                    facts.append(self._journal.failed(record.did, outcome))
                    continue
                pfn, measure = outcome
                if measure != record.measure:
                    facts.append(FileMeasured(at=clock.now(), did=record.did, measure=measure))
                facts.append(FileUploaded(at=clock.now(), did=record.did, rse=self._rse, pfn=pfn))
            self._journal.tell(facts)

    def _upload(self, record: FileRecord) -> tuple[str, Measure]:
        path = Path(record.path)
        measure = self._still_the_same(record, path)
        pfn = self._storage.put(self._rse, path, record.did)
        self._check_stored(record.did, pfn, measure)
        return pfn, measure

    def _still_the_same(self, record: FileRecord, path: Path) -> Measure:
        """The measure to hold the upload against.

        A generated file that is gone (its folder was cleaned between two runs) is made again and
        measured anew: ROOT files of the same physics differ in their bytes.
        """
        if record.generated and not path.exists():
            self._source.provide(path)
            return measure_file(path)
        return _measure(record)

    def _check_stored(self, did: DID, pfn: str, measure: Measure) -> None:
        """Read what the storage now has; an upload that nobody looked at is none."""
        make_folder(self._work)
        # A DID is longer than a file name may be; its hash is not.
        copy = self._work / hashlib.sha256(str(did).encode()).hexdigest()
        try:
            self._storage.get(self._rse, pfn, copy)
            stored = measure_file(copy)
        finally:
            copy.unlink(missing_ok=True)
        difference = measure.differences(stored)
        if difference:
            self._storage.remove(self._rse, pfn)
            raise SourceChanged(
                f"{did}: what arrived at {self._rse} is not what was measured "
                f"({', '.join(difference)}); it was removed there",
                hint="did the source file change, or is the storage faulty? run again when mended",
            )


class RegisterFiles:
    """Declares uploaded files in the catalogue, many in a call, and looks whether they are."""

    def __init__(self, journal: Journal, catalogue: Catalogue, rse: str) -> None:
        self._journal = journal
        self._catalogue = catalogue
        self._rse = rse

    def run(self, files: Sequence[FileRecord]) -> None:
        """Register the UPLOADED ones."""
        uploaded = [record for record in files if record.state is FileState.UPLOADED]
        for start in range(0, len(uploaded), BATCH):
            self._journal.clock.check()
            self._register(uploaded[start : start + BATCH])

    def _register(self, files: Sequence[FileRecord]) -> None:
        new = [NewFile(record.did, _measure(record)) for record in files]
        self._catalogue.add_files(self._rse, new)
        # Rucio's own client takes a call that raises nothing for a success; some were none.
        known = self._catalogue.look_up([record.did for record in files])
        self._journal.tell(self._fact(record, known.get(record.did)) for record in files)

    def _fact(self, record: FileRecord, known: KnownFile | None) -> Fact:
        replica = known.replicas.get(self._rse) if known else None
        if known is None or replica is None or not replica.available:
            error: InjectError = StorageRefused(
                f"{record.did} was registered at {self._rse}, but the catalogue does not show it",
                hint="run the same command again",
            )
            return self._journal.failed(record.did, error)
        if (difference := known.conflict(_measure(record))) is not None:
            error = ContentConflict(
                f"{record.did} was registered by somebody else meanwhile ({difference})",
                hint="give the file another name, or find out whose that is",
            )
            return self._journal.failed(record.did, error)
        pfn = replica.pfn
        return FileRegistered(at=self._journal.clock.now(), did=record.did, rse=self._rse, pfn=pfn)


def _measure(record: FileRecord) -> Measure:
    if record.measure is None:
        raise LedgerError(f"{record.did} is {record.state} but its checksums are not on record")
    return record.measure
