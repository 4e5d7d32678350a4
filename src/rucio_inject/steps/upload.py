"""Bringing bytes to the upload RSE, and declaring them in the catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError, PlaceTaken, SourceChanged, StorageRefused
from rucio_inject.domain.facts import (
    Fact,
    FileMeasured,
    FileRegistered,
    FileSetBack,
    FileUploaded,
    UploadBegun,
)
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.measuring import measure_file
from rucio_inject.ports import Catalogue, KnownFile, NewFile, Source, Storage
from rucio_inject.steps.batches import batches, divided
from rucio_inject.steps.compare import CompareWithCatalogue, conflict, measure_of
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.measure import make_folder
from rucio_inject.steps.pool import in_threads

Uploaded: TypeAlias = tuple[str, Measure]
"""Where an upload lies, and what it measures."""


class UploadFiles:
    """Copies measured files to the upload RSE, and proves what arrived by reading it again."""

    def __init__(
        self,
        journal: Journal,
        source: Source,
        storage: Storage,
        compare: CompareWithCatalogue,
        *,
        rse: str,
        work: Path,
        workers: int,
    ) -> None:
        """`work` is a folder for what is read again from storages that are not on this machine."""
        self._journal = journal
        self._source = source
        self._storage = storage
        self._compare = compare
        self._rse = rse
        self._work = work
        self._workers = workers

    def look_again(self) -> None:
        """Read the UPLOADED ones once more: an earlier run left them, and nobody has registered
        them, so that whoever cleans the storage may have taken them."""
        clock = self._journal.clock
        uploaded = self._journal.ledger.files({FileState.UPLOADED})
        for batch in in_threads(uploaded, self._lacking, workers=self._workers, clock=clock):
            facts: list[Fact] = []
            for record, outcome in batch:
                if isinstance(outcome, InjectError):
                    facts.append(self._journal.failed(record.did, outcome))
                elif outcome is not None:
                    at, back = clock.now(), FileState.MEASURED
                    facts.append(FileSetBack(at=at, did=record.did, state=back, reason=outcome))
            self._journal.tell(facts)

    def run(self) -> None:
        """Upload the MEASURED ones that the catalogue does not have by then. Each file's failure
        is its own."""
        for batch in batches(self._journal.ledger.files({FileState.MEASURED})):
            self._upload_all(self._compare.settle(batch))

    def _upload_all(self, files: Sequence[FileRecord]) -> None:
        # What was begun before has looked already: what lies there is ours to overwrite.
        new = [record for record in files if record.upload_begun_at is None]
        begun = [record for record in files if record.upload_begun_at is not None]
        clock = self._journal.clock
        for looked in in_threads(new, self._taken, workers=self._workers, clock=clock):
            self._journal.tell(self._facts((r, found) for r, found in looked if found is not None))
            begun += [record for record, found in looked if found is None]
        self._journal.tell(
            UploadBegun(at=clock.now(), did=record.did, rse=self._rse) for record in begun
        )
        for batch in in_threads(begun, self._upload, workers=self._workers, clock=clock):
            self._journal.tell(self._facts(batch))

    def _facts(
        self, outcomes: Iterable[tuple[FileRecord, Uploaded | InjectError]]
    ) -> Iterator[Fact]:
        for record, outcome in outcomes:
            now = self._journal.clock.now()
            if isinstance(outcome, InjectError):
                yield self._journal.failed(record.did, outcome)
                continue
            pfn, measure = outcome
            if measure != record.measure:
                yield FileMeasured(at=now, did=record.did, measure=measure)
            yield FileUploaded(at=now, did=record.did, rse=self._rse, pfn=pfn)

    def _taken(self, record: FileRecord) -> Uploaded | None:
        """Look whether the file's place is free, before the intent to write there is on record.

        None if it is; the upload if the same bytes lie there; PlaceTaken if others do.
        """
        pfn = self._storage.taken(self._rse, record.did)
        if pfn is None:
            return None
        measure = measure_of(record)
        if difference := self._difference(record.did, pfn, measure):
            raise PlaceTaken(
                f"something else lies already at {pfn}, where {record.did} is to be ({difference})",
                pfn=pfn,
                hint="nobody has registered it; look at it, and remove it if nobody needs it",
            )
        return pfn, measure

    def _upload(self, record: FileRecord) -> Uploaded:
        path = Path(record.path)
        measure = self._measure_to_match(record, path)
        # Only what an earlier try of ours may have left is ours to overwrite.
        begun_before = record.upload_begun_at is not None
        try:
            pfn = self._storage.put(self._rse, path, record.did, overwrite=begun_before)
        except PlaceTaken as taken:
            # A try of ours whose answer was lost, or anybody's: the same bytes are as good.
            if self._difference(record.did, taken.pfn, measure):
                raise
            return taken.pfn, measure
        if difference := self._difference(record.did, pfn, measure):
            self._take_back(record.did, pfn)
            raise SourceChanged(
                f"{record.did}: what arrived at {self._rse} is not what was measured "
                f"({difference})",
                hint="did the source file change, or is the storage faulty? run again when mended",
            )
        return pfn, measure

    def _measure_to_match(self, record: FileRecord, path: Path) -> Measure:
        """The measure to hold the upload against.

        A generated file that is gone (its folder was cleaned between two runs) is made again and
        measured anew: ROOT files of the same physics differ in their bytes.
        """
        if record.generated and not path.exists():
            self._source.provide(path)
            return measure_file(path)
        return measure_of(record)

    def _take_back(self, did: DID, pfn: str) -> None:
        """Remove what we have just written, unless somebody has made it a replica meanwhile."""
        if not self._compare.is_registered(did):
            self._storage.remove(self._rse, pfn)

    def _lacking(self, record: FileRecord) -> str | None:
        """What an upload of an earlier run lacks now; None if it is as it was."""
        pfn = record.replicas[self._rse].pfn if self._rse in record.replicas else None
        if pfn is None or not self._storage.exists(self._rse, pfn):
            return f"{record.did} is no longer at {self._rse}, where it was uploaded to"
        if difference := self._difference(record.did, pfn, measure_of(record)):
            return f"{record.did} at {self._rse} is not what was uploaded ({difference})"
        return None

    def _difference(self, did: DID, pfn: str, measure: Measure) -> str:
        """How what the storage now has differs from a measure; empty if it does not. An upload
        that nobody looked at is none."""
        make_folder(self._work)
        # A DID is longer than a file name may be; its hash is not.
        copy = self._work / hashlib.sha256(str(did).encode()).hexdigest()
        try:
            self._storage.get(self._rse, pfn, copy)
            return ", ".join(measure.differences(measure_file(copy)))
        finally:
            copy.unlink(missing_ok=True)


class RegisterFiles:
    """Declares uploaded files in the catalogue, many in a call, and looks whether they are."""

    def __init__(self, journal: Journal, catalogue: Catalogue, rse: str) -> None:
        self._journal = journal
        self._catalogue = catalogue
        self._rse = rse

    def run(self) -> None:
        """Register the UPLOADED ones."""
        for batch in batches(self._journal.ledger.files({FileState.UPLOADED})):
            self._journal.clock.check()
            divided(batch, self._register, self._refused)

    def _register(self, files: Sequence[FileRecord]) -> None:
        new = [NewFile(record.did, measure_of(record)) for record in files]
        self._catalogue.add_files(self._rse, new)
        # Rucio's own client takes a call that raises nothing for a success; some were none.
        known = self._catalogue.look_up([record.did for record in files])
        self._journal.tell(self._fact(record, known.get(record.did)) for record in files)

    def _refused(self, record: FileRecord, error: InjectError) -> None:
        self._journal.tell([self._journal.failed(record.did, error)])

    def _fact(self, record: FileRecord, known: KnownFile | None) -> Fact:
        replica = known.replicas.get(self._rse) if known else None
        if known is None or replica is None or not replica.available:
            error = StorageRefused(
                f"{record.did} was registered at {self._rse}, but the catalogue does not show it",
                hint="run the same command again",
            )
            return self._journal.failed(record.did, error)
        if (difference := conflict(record, known)) is not None:
            return self._journal.failed(record.did, difference)
        pfn = replica.pfn
        return FileRegistered(at=self._journal.clock.now(), did=record.did, rse=self._rse, pfn=pfn)
