"""Asking Rucio before anything is written: what is there already is not done again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeAlias

from rucio_inject.batches import batches
from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import ContentConflict, InjectError, LedgerError, ReplicaBusy
from rucio_inject.domain.facts import FileFailed, FileRegistered
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.ports import Catalogue, KnownCollection, KnownFile
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.measure import MeasureFiles
from rucio_inject.steps.pool import in_threads

# The first question is a small one: files are copied while the lake answers the next.
FIRST = 100

Found: TypeAlias = Mapping[DID, KnownFile | KnownCollection]
"""What the catalogue has under some names."""


def measure_of(record: FileRecord) -> Measure:
    """The measure of a file that must have been measured. LedgerError if it was not."""
    if record.measure is None:
        raise LedgerError(f"{record.did} is {record.state} but its checksums are not on record")
    return record.measure


def _portions(files: Iterable[FileRecord]) -> Iterator[list[FileRecord]]:
    coming = iter(files)
    yield from batches(islice(coming, FIRST))
    yield from batches(coming)


def conflict(record: FileRecord, known: KnownFile) -> ContentConflict | None:
    """Why what the catalogue has is not this file; None if it is."""
    difference = known.conflict(measure_of(record))
    if difference is None:
        return None
    return ContentConflict(
        f"{record.did} is in the catalogue with other content ({difference})",
        hint="a DID is for ever: give the file another name, or find out whose that is",
    )


class CompareWithCatalogue:
    """Settles measured files that need no upload, or may have none."""

    def __init__(self, journal: Journal, catalogue: Catalogue, rse: str) -> None:
        self._journal = journal
        self._catalogue = catalogue
        self._rse = rse

    def run(self, state: FileState) -> None:
        """Settle the files in a state in which they are measured."""
        for batch in batches(self._journal.ledger.files({state})):
            self._settle(batch, self._find(batch))

    def to_be_brought(
        self, files: Iterable[FileRecord], measure: MeasureFiles
    ) -> Iterator[list[FileRecord]]:
        """Settle files that are not uploaded yet, the next while the last ones are worked on;
        yields those whose bytes are to be brought.

        Only those that are in the catalogue are measured for it.
        """
        crew = self._journal.crew
        for asked in in_threads(
            _portions(files), self._find, workers=2, crew=crew, ahead=1, gather=0
        ):
            for batch, found in asked:
                if isinstance(found, InjectError):
                    raise found
                there = [r for r in batch if r.did in found and r.state is FileState.FOUND]
                measured = list(measure.measured(there)) if there else []
                passed = {record.did for record in there}
                others = [record for record in batch if record.did not in passed]
                yield self._settle([*measured, *others], found)

    def _find(self, files: Sequence[FileRecord]) -> Found:
        return self._catalogue.find([record.did for record in files])

    def _settle(self, files: Sequence[FileRecord], found: Found) -> list[FileRecord]:
        """Compare files with what was found of them; gives those whose bytes are still to be
        brought. What is in the catalogue must have been measured.

        The same content at the upload RSE: REGISTERED, no upload. Other content, a DID that is a
        collection, or a replica that somebody else is at: set aside, and nothing touched.
        """
        facts = {
            record.did: fact
            for record in files
            if record.did in found and (fact := self.verdict(record, found[record.did])) is not None
        }
        self._journal.tell(facts.values())
        return [record for record in files if record.did not in facts]

    def is_registered(self, did: DID) -> bool:
        """Whether the catalogue has a replica of the file at the upload RSE, in any state."""
        known = self._catalogue.look_up([did]).get(did)
        return known is not None and self._rse in known.replicas

    def verdict(
        self, record: FileRecord, known: KnownFile | KnownCollection
    ) -> FileRegistered | FileFailed | None:
        """What the catalogue's knowledge makes of a measured file; None if it is still to be
        brought."""
        if isinstance(known, KnownCollection):
            # It would be the end of a call that registers many.
            taken = ContentConflict(
                f"{record.did} is in the catalogue as a {known.kind}",
                hint="a DID is for ever: give the file another name, or use another scope",
            )
            return self._journal.failed(record.did, taken)
        difference = conflict(record, known)
        if difference is not None:
            return self._journal.failed(record.did, difference)
        replica = known.replicas.get(self._rse)
        if replica is None:
            return None
        if not replica.available:
            busy = ReplicaBusy(
                f"{record.did} has a replica at {self._rse} that is {replica.state}: somebody "
                "else brings or removes it, or did not finish",
                hint=f"rucio replica list file {record.did} --all-states; when it is AVAILABLE "
                "or gone, run the same command again",
            )
            return self._journal.failed(record.did, busy)
        return FileRegistered(
            at=self._journal.clock.now(),
            did=record.did,
            rse=self._rse,
            pfn=replica.pfn,
            # Ours is only what we may have registered ourselves, with the answer lost.
            adopted=record.state is not FileState.UPLOADED,
        )
