"""Bringing bytes to the upload RSE."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from math import inf
from pathlib import Path
from typing import TypeAlias

from rucio_inject.batches import batches as groups_of
from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    FileRefused,
    InjectError,
    PlaceTaken,
    SourceChanged,
    SourceMismatch,
    StorageError,
)
from rucio_inject.domain.facts import (
    Fact,
    FileFact,
    FileMeasured,
    FileSetBack,
    FileUploaded,
    UploadBegun,
    UploadLeftNothing,
)
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.measuring import measure_file, there
from rucio_inject.ports import Arrived, Porters, Source, Storage, Stored, StoredFile
from rucio_inject.steps.compare import CompareWithCatalogue, measure_of
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.measure import refuse_mismatch
from rucio_inject.steps.pool import SILENT, attempted, groups_in_threads, in_threads
from rucio_inject.steps.same_file import SameFile
from rucio_inject.steps.turns import TO_BE_BROUGHT

# What has been done is held back so long, in seconds, that much is told, and placed, at once.
GATHER = 0.1
# Files a thread handed out ahead, or groups of them: many small files are copied while facts are
# written to the disk.
AHEAD = 32
GROUPS_AHEAD = 4
SMALL = 4 << 20
"""Bytes of a file from which on it is as quick by itself."""
TOGETHER = 16
"""Small files that are brought in one call."""
MANY = 100
"""Files from which on it is worth while to have porters come."""


@dataclass(frozen=True, slots=True)
class _NothingLeft:
    """What became of an upload that failed, and left nothing under the file's name."""

    error: FileRefused


_Outcome: TypeAlias = Stored | _NothingLeft | InjectError


class UploadFiles:
    """Copies files to the upload RSE, measuring them on the way, and proves what arrived by
    reading it again."""

    def __init__(
        self,
        journal: Journal,
        source: Source,
        storage: Storage,
        compare: CompareWithCatalogue,
        *,
        rse: str,
        workers: int,
        at_once: float = inf,
    ) -> None:
        """`workers`: how many files are copied at a time, or groups of small ones; `at_once`: how
        many come in one round at most."""
        self._journal = journal
        self._source = source
        self._storage = storage
        self._compare = compare
        self._rse = rse
        self._workers = workers
        self._at_once = at_once

    def look_again(self) -> None:
        """Read the UPLOADED ones once more: an earlier run left them, and nobody has registered
        them, so that whoever cleans the storage may have taken them."""
        clock, crew = self._journal.clock, self._journal.crew
        uploaded = self._journal.ledger.files({FileState.UPLOADED})
        for batch in in_threads(uploaded, self._lacking, workers=self._workers, crew=crew):
            facts: list[Fact] = []
            for record, outcome in batch:
                if isinstance(outcome, InjectError):
                    facts.append(self._journal.failed(record.did, outcome))
                elif outcome is not None:
                    at, back = clock.now(), FileState.MEASURED
                    facts.append(FileSetBack(at=at, did=record.did, state=back, reason=outcome))
            self._journal.tell(facts)

    def run(self, batches: Iterable[list[FileRecord]]) -> Iterator[list[FileRecord]]:
        """Upload files that the catalogue does not have; yields those that are UPLOADED, as soon
        as they are, and nothing now and then while large ones come. Each file's failure is its
        own."""
        porters = self._porters()

        def upload(files: Sequence[FileRecord]) -> Sequence[_Outcome]:
            return self._upload_all(porters, files)

        with closing(porters) if porters else nullcontext():
            uploads = groups_in_threads(
                self._begun(batches) if porters is None else self._grouped(batches),
                upload,
                workers=self._workers,
                crew=self._journal.crew,
                ahead=AHEAD if porters is None else GROUPS_AHEAD,
                gather=GATHER,
                silent=SILENT,
            )
            for batch in uploads:
                self._journal.tell(fact for done in batch for fact in self._facts(*done))
                known = self._journal.ledger.known([record.did for record, _ in batch])
                yield [record for record in known.values() if record.state is FileState.UPLOADED]

    def _porters(self) -> Porters | None:
        """They take a moment to come: that is worth while only for many files at once."""
        counts = self._journal.ledger.counts()
        coming = sum(counts.get(state, 0) for state in TO_BE_BROUGHT)
        if min(coming, self._at_once) < MANY:
            return None
        return self._storage.porters(self._rse, self._workers)

    def again(
        self, files: Sequence[FileRecord]
    ) -> Iterator[list[tuple[FileRecord, Stored | InjectError]]]:
        """Bring files again that were registered before and are on no RSE any more; yields what
        came of each, some at a time. Only the very bytes that were registered are brought."""
        begun, crew = chain.from_iterable(self._begun([list(files)])), self._journal.crew
        yield from in_threads(begun, self._bring_same, workers=self._workers, crew=crew)

    def _begun(self, batches: Iterable[list[FileRecord]]) -> Iterator[list[FileRecord]]:
        """The files, each alone, when the intent to upload them is on record."""
        for batch in batches:
            self._begin(batch)
            yield from ([record] for record in batch)

    def _begin(self, files: Sequence[FileRecord]) -> None:
        now = self._journal.clock.now()
        self._journal.tell(UploadBegun(at=now, did=r.did, rse=self._rse) for r in files)

    def _grouped(self, batches: Iterable[list[FileRecord]]) -> Iterator[list[FileRecord]]:
        """The same, but the small ones in groups, as large as leaves every thread its share."""
        for batch in batches:
            self._begin(batch)
            small, others = list[FileRecord](), list[FileRecord]()
            for record in batch:
                (small if _is_small(record) else others).append(record)
            # The small ones first: they are not held up by the large ones.
            yield from groups_of(small, min(-(-len(small) // self._workers) or 1, TOGETHER))
            yield from ([record] for record in others)

    def _facts(self, record: FileRecord, outcome: _Outcome) -> Iterator[FileFact]:
        now = self._journal.clock.now()
        if isinstance(outcome, _NothingLeft):
            yield UploadLeftNothing(at=now, did=record.did, rse=self._rse)
            outcome = outcome.error
        if isinstance(outcome, InjectError):
            yield self._journal.failed(record.did, outcome)
            return
        if outcome.measure != record.measure:
            yield FileMeasured(at=now, did=record.did, measure=outcome.measure)
        yield FileUploaded(at=now, did=record.did, rse=self._rse, pfn=outcome.pfn)

    def _upload_all(self, porters: Porters | None, files: Sequence[FileRecord]) -> list[_Outcome]:
        """The outcome of each file of a group."""
        arrived: dict[DID, Arrived] = {}
        if porters is not None and len(files) > 1:
            ready = [record for record in files if self._is_provided(record)]
            loads = [(Path(record.path), record.did) for record in ready]
            for record, found in zip(ready, porters.carry(loads), strict=True):
                if found is not None:
                    arrived[record.did] = found
        return [attempted(partial(self._upload, arrived), record) for record in files]

    def _is_provided(self, record: FileRecord) -> bool:
        path = Path(record.path)
        try:
            if record.generated:
                # What has vanished is made again by itself, and is another one then.
                return there(path)
            self._source.provide(path)
        except InjectError:
            # Told when it is tried by itself.
            return False
        return True

    def _upload(self, arrived: Mapping[DID, Arrived], record: FileRecord) -> Stored | _NothingLeft:
        found = arrived.get(record.did)
        try:
            return self._bring(record) if found is None else self._checked(record, found)
        except FileRefused as error:
            # That of no other failure is certain: an answer may have been lost.
            if self._is_nowhere(record.did):
                return _NothingLeft(error)
            raise

    def _is_nowhere(self, did: DID) -> bool:
        try:
            return self._storage.taken(self._rse, did) is None
        except StorageError:
            # The file's own error is the one to tell.
            return False

    def _bring(self, record: FileRecord) -> Stored:
        path = Path(record.path)
        # A generated file that is gone (its folder was cleaned between two runs) is made again:
        # ROOT files of the same physics differ in their bytes.
        wanted = None if record.generated and not there(path) else record.measure
        self._source.provide(path)
        try:
            stored = self._storage.put(self._rse, path, record.did)
        except PlaceTaken as taken:
            return self._as_it_lies(record, taken)
        self._refuse_other_source(record, wanted, stored)
        return self._proved(record, stored, self._storage.checksum(self._rse, stored.pfn))

    def _checked(self, record: FileRecord, arrived: Arrived) -> Stored:
        """The same of a file that porters have brought."""
        self._refuse_other_source(record, record.measure, arrived.stored)
        return self._proved(record, arrived.stored, arrived.found)

    def _refuse_other_source(
        self, record: FileRecord, wanted: Measure | None, stored: Stored
    ) -> None:
        """Take back what is not the file: `wanted` is its measure, if it has to have that."""
        if wanted is not None and (difference := ", ".join(wanted.differences(stored.measure))):
            self._take_back(record.did, stored.pfn)
            raise SourceChanged(
                f"{record.did} is not what was measured any more ({difference})",
                hint="is it still being written? run the same command again when it is complete",
            )
        try:
            refuse_mismatch(record, stored.measure)
        except SourceMismatch:
            self._take_back(record.did, stored.pfn)
            raise

    def _proved(self, record: FileRecord, stored: Stored, found: StoredFile) -> Stored:
        """What was stored, if that is what the storage now has."""
        if difference := _difference(found, stored.measure):
            self._take_back(record.did, stored.pfn)
            raise SourceChanged(
                f"{record.did}: what arrived at {self._rse} is not what was sent ({difference})",
                hint="the storage is faulty, or somebody else writes there; run again when mended",
            )
        return stored

    def _bring_same(self, record: FileRecord) -> Stored:
        path, wanted = Path(record.path), measure_of(record)
        if difference := ", ".join(wanted.differences(measure_file(path))):
            raise _not_the_same(record, difference)
        try:
            stored = self._storage.put(self._rse, path, record.did)
        except PlaceTaken as taken:
            return self._as_it_lies(record, taken)
        found = ", ".join(wanted.differences(stored.measure))
        if difference := found or self._found_otherwise(stored.pfn, wanted):
            # Nothing lay there before, and no replica there can be read: it is ours.
            self._storage.remove(self._rse, stored.pfn)
            raise _not_the_same(record, difference)
        return stored

    def _as_it_lies(self, record: FileRecord, taken: PlaceTaken) -> Stored:
        """What lies in a file's place already, if it is the file: a try of ours whose answer was
        lost, or anybody's: the same bytes are as good, unless they are the source itself."""
        SameFile(self._storage).refuse_at(Path(record.path), self._rse, taken.pfn)
        measure = record.measure or measure_file(Path(record.path))
        refuse_mismatch(record, measure)
        found = self._storage.measure(self._rse, taken.pfn)
        if difference := ", ".join(measure.differences(found)):
            raise PlaceTaken(
                f"something else lies already at {taken.pfn}, where {record.did} is to be "
                f"({difference})",
                pfn=taken.pfn,
                hint="nobody has registered it; look at it, and remove it if nobody needs it",
            ) from taken
        return Stored(taken.pfn, measure)

    def _take_back(self, did: DID, pfn: str) -> None:
        """Remove what we have written, unless somebody has made it a replica meanwhile."""
        if not self._compare.is_registered(did):
            self._storage.remove(self._rse, pfn)

    def _lacking(self, record: FileRecord) -> str | None:
        """What an upload of an earlier run lacks now; None if it is as it was."""
        pfn = record.replicas[self._rse].pfn if self._rse in record.replicas else None
        if pfn is None or not self._storage.exists(self._rse, pfn):
            return f"{record.did} is no longer at {self._rse}, where it was uploaded to"
        if difference := self._found_otherwise(pfn, measure_of(record)):
            self._take_back(record.did, pfn)
            return f"{record.did} at {self._rse} is not what was uploaded ({difference})"
        return None

    def _found_otherwise(self, pfn: str, measure: Measure) -> str:
        return _difference(self._storage.checksum(self._rse, pfn), measure)


def _difference(found: StoredFile, measure: Measure) -> str:
    """How what a storage has differs from a measure; empty if it does not. An upload that nobody
    looked at is none."""
    if found.size != measure.size:
        return f"size: {measure.size} != {found.size}"
    if found.adler32 != measure.adler32:
        return f"adler32: {measure.adler32} != {found.adler32}"
    return ""


def _is_small(record: FileRecord) -> bool:
    """Whether a file is there and small. Why it cannot be looked at is told when its turn comes."""
    try:
        return os.stat(record.path).st_size <= SMALL  # noqa: PTH116 -- for each file
    except (OSError, ValueError):
        return False


def _not_the_same(record: FileRecord, difference: str) -> SourceChanged:
    return SourceChanged(
        f"{record.did} is on no RSE any more, and its source is not what was injected "
        f"({difference})",
        hint=f"put {record.path} back as it was, and run the same command again",
    )
