"""Asking Rucio before anything is written: what is there already is not done again."""

from __future__ import annotations

from collections.abc import Sequence

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import ContentConflict, LedgerError, ReplicaBusy
from rucio_inject.domain.facts import Fact, FileRegistered
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.ports import Catalogue, KnownFile
from rucio_inject.steps.batches import batches
from rucio_inject.steps.journal import Journal


def measure_of(record: FileRecord) -> Measure:
    """The measure of a file that must have been measured. LedgerError if it was not."""
    if record.measure is None:
        raise LedgerError(f"{record.did} is {record.state} but its checksums are not on record")
    return record.measure


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

    def run(self) -> None:
        """Compare files that are not registered yet with what the catalogue has."""
        for batch in batches(self._journal.ledger.files({FileState.MEASURED, FileState.UPLOADED})):
            self.settle(batch)

    def settle(self, files: Sequence[FileRecord]) -> list[FileRecord]:
        """Compare some files; gives those whose bytes are still to be brought.

        The same content at the upload RSE: REGISTERED, no upload. Other content, a DID that is a
        collection, or a replica that somebody else is at: set aside, and nothing touched.
        """
        known = self._catalogue.look_up([record.did for record in files]) if files else {}
        facts = {
            record.did: fact
            for record in files
            if record.did in known and (fact := self._fact(record, known[record.did])) is not None
        }
        self._journal.tell(facts.values())
        unknown = [record.did for record in files if record.did not in known]
        refused = self._refuse_collections(unknown)
        return [r for r in files if r.did not in facts and r.did not in refused]

    def is_registered(self, did: DID) -> bool:
        """Whether the catalogue has a replica of the file at the upload RSE, in any state."""
        known = self._catalogue.look_up([did]).get(did)
        return known is not None and self._rse in known.replicas

    def _refuse_collections(self, dids: Sequence[DID]) -> frozenset[DID]:
        """Refuse files whose DID is a dataset or a container: one of them would else be the end
        of a call that registers many."""
        there = frozenset(dids) - self._catalogue.missing(dids) if dids else frozenset()
        # A file that somebody registered between the two questions is no collection.
        taken = there.difference(self._catalogue.look_up(list(there)) if there else ())
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
        return taken

    def _fact(self, record: FileRecord, known: KnownFile) -> Fact | None:
        """What the catalogue's knowledge makes of a file; None if it is still to be brought."""
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
