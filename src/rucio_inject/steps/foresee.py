"""What a run would make of each file, found out without changing anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from rucio_inject.batches import batches
from rucio_inject.domain.checksum import ADLER32_DIGITS, Announced, Measure
from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.errors import (
    CatalogueRefused,
    InjectError,
    NameRefused,
    SourceUnreadable,
)
from rucio_inject.domain.facts import FileFailed, FileFound, FileRegistered, NameSkipped
from rucio_inject.domain.injection import FileRecord, FileState, reached
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.domain.story import begin_file
from rucio_inject.plan import BROUGHT, Fate, PlannedFiles, SetAside
from rucio_inject.ports import Catalogue, KnownCollection, KnownFile, Ledger
from rucio_inject.steps.compare import CompareWithCatalogue
from rucio_inject.steps.discover import Discover, digest
from rucio_inject.steps.prepare import Lake
from rucio_inject.steps.recheck import has_source, lost
from rucio_inject.steps.turns import SizeOf

Known: TypeAlias = KnownFile | KnownCollection

NOT_BROUGHT = frozenset({FileState.FOUND, FileState.MEASURED})
ENDING = frozenset({FileState.EXPIRING, FileState.GONE})
# Stand for a checksum that neither we nor the catalogue have: nothing is compared with them.
NO_ADLER32 = "0" * ADLER32_DIGITS


@dataclass(frozen=True, slots=True)
class Promise:
    """What the campaign promises: `rules` with the landing rule, and the state at its end."""

    lake: Lake
    rules: Sequence[RuleRequest]
    goal: FileState


class ForeseeFiles:
    """Looks every file up, in the catalogue and on record, as the steps of a run would."""

    def __init__(
        self,
        ledger: Ledger,
        catalogue: Catalogue,
        discover: Discover,
        compare: CompareWithCatalogue,
        promise: Promise,
        size_of: SizeOf,
    ) -> None:
        """`size_of` gives the bytes of a file that is not measured; None if they cannot be known
        before it is made, SourceUnreadable if it is not there."""
        self._ledger = ledger
        self._catalogue = catalogue
        self._discover = discover
        self._compare = compare
        self._promise = promise
        self._size_of = size_of
        self._at: dict[str, tuple[str, ...]] = {
            promise.lake.upload_rse: (promise.lake.upload_rse,),
            **promise.lake.rses,
        }
        self.files = PlannedFiles()
        self.collections: dict[DID, Known | None] = {}
        """What the catalogue has under the names of datasets and containers; None for nothing."""
        self.datasets: dict[DID, tuple[DID, ...]] = {}
        """Datasets, with their containers, of files that would go on."""

    def run(self, cycle: int) -> PlannedFiles:
        """Look at what the source offers, and at what is on record of that cycle."""
        for records in self._new():
            self._look(records, on_record=False)
        if self._ledger.cycle == cycle:
            for records in batches(self._ledger.files()):
                self._look(records, on_record=True)
        return self.files

    def _new(self) -> Iterator[list[FileRecord]]:
        seen: set[int] = set()
        for facts in self._discover.look():
            new: list[FileRecord] = []
            for fact in facts:
                if isinstance(fact, NameSkipped):
                    self.files.skip(fact)
                elif isinstance(fact, FileFound):
                    key = digest(fact.did)
                    if key in seen:
                        self.files.skip(_twice(fact))
                        continue
                    seen.add(key)
                    new.append(begin_file(fact))
            yield new

    def _look(self, records: Sequence[FileRecord], *, on_record: bool) -> None:
        going = [record for record in records if record.state not in ENDING]
        around = (c for r in going for c in (*r.containers, r.dataset))
        new = [did for did in dict.fromkeys(around) if did not in self.collections]
        asked = [record.did for record in going]
        found = self._catalogue.find([*asked, *new]) if asked else {}
        self.collections.update({did: found.get(did) for did in new})
        for record in records:
            self._judge(record, found.get(record.did), on_record=on_record)

    def _judge(self, record: FileRecord, known: Known | None, *, on_record: bool) -> None:
        state = _goes_on_from(record)
        if state in ENDING or state is self._promise.goal:
            fate = self._of_proved(record, state, known)
            size: int | None = record.measure.size if record.measure else 0
        else:
            try:
                size = record.measure.size if record.measure else self._size_of(record)
                fate = self._of_unproved(record, state, known, size)
            except (SourceUnreadable, CatalogueRefused) as error:
                self._refuse(record, error)
                return
            if fate is Fate.NEW and on_record:
                fate = Fate.UNDER_WAY
        if fate is Fate.ASIDE:
            return
        self.files.unsized += size is None
        self.files.count[fate] += 1
        self.files.bytes[fate] += size or 0
        if fate is Fate.DONE:
            return
        if on_record:
            self.files.left[state] += 1
        self._effects(record, state, fate, known, size or 0)

    def _of_proved(self, record: FileRecord, state: FileState, known: Known | None) -> Fate:
        if state is FileState.GONE:
            return Fate.DONE
        if state is FileState.EXPIRING or record.state is FileState.QUARANTINED:
            return Fate.UNDER_WAY
        if self._is_in_place(record, known):
            return Fate.DONE
        return self._lost(record)

    def _of_unproved(
        self, record: FileRecord, state: FileState, known: Known | None, size: int | None
    ) -> Fate:
        """CatalogueRefused and the like for what sets the file aside."""
        if reached(state, FileState.REGISTERED):
            return Fate.UNDER_WAY if self._is_held(record, known) else self._lost(record)
        self._check_collections(record)
        if known is None:
            return Fate.UNDER_WAY if state is FileState.UPLOADED else Fate.NEW
        verdict = self._compare.verdict(self._as_measured(record, known, size), known)
        if isinstance(verdict, FileFailed):
            self._set_aside(SetAside(record.did, verdict.code, verdict.reason, verdict.hint))
            return Fate.ASIDE
        if isinstance(verdict, FileRegistered):
            return Fate.UNDER_WAY if state is FileState.UPLOADED else Fate.THERE
        return Fate.ELSEWHERE

    def _as_measured(self, record: FileRecord, known: Known, size: int | None) -> FileRecord:
        """A record that can be compared: what was not read yet passes for what came with it, and
        that failing for what the catalogue has, but for its size."""
        if record.measure is not None or not isinstance(known, KnownFile):
            return record
        told = record.announced or Announced()
        self.files.by_size += told.adler32 is None and told.md5 is None
        measure = Measure(
            known.size if size is None else size,
            told.adler32 or known.adler32 or NO_ADLER32,
            told.md5 or known.md5,
        )
        return replace(record, measure=measure)

    def _lost(self, record: FileRecord) -> Fate:
        error: InjectError = lost(record, f"{record.did} is no longer where it was")
        try:
            if has_source(record):
                return Fate.LOST
        except SourceUnreadable as unreadable:
            error = unreadable
        self._refuse(record, error)
        return Fate.ASIDE

    def _is_held(self, record: FileRecord, known: Known | None) -> bool:
        """Whether the catalogue has a file at the upload RSE; of one that was given up there,
        anywhere else."""
        if not isinstance(known, KnownFile):
            return False
        rse = self._promise.lake.upload_rse
        if not record.leaves(rse):
            return rse in known.replicas
        return any(there.available for at, there in known.replicas.items() if at != rse)

    def _is_in_place(self, record: FileRecord, known: Known | None) -> bool:
        return self._is_held(record, known) and self.collections[record.dataset] is not None

    def _check_collections(self, record: FileRecord) -> None:
        """CatalogueRefused if a file's dataset or containers cannot be what they should."""
        wanted = {record.dataset: DIDType.DATASET}
        wanted |= dict.fromkeys(record.containers, DIDType.CONTAINER)
        for did, kind in wanted.items():
            known = self.collections.get(did)
            there = known.kind if isinstance(known, KnownCollection) else DIDType.FILE
            if known is not None and there is not kind:
                raise CatalogueRefused(
                    f"{did} is to be a {kind} but the catalogue has it as a {there}",
                    hint="change the naming templates of the campaign, or its scope",
                )
        dataset = self.collections.get(record.dataset)
        if isinstance(dataset, KnownCollection) and not dataset.open:
            raise CatalogueRefused(
                f"{record.dataset} is closed: it takes no more files",
                hint="its owner may open it again; or use another naming.dataset",
            )

    def _effects(
        self, record: FileRecord, state: FileState, fate: Fate, known: Known | None, size: int
    ) -> None:
        """What would be done with a file that goes on."""
        files = self.files
        vanished = fate is Fate.LOST
        brought = fate in BROUGHT or (fate is Fate.UNDER_WAY and state in NOT_BROUGHT)
        # What is at the upload RSE still only needs to be organised again.
        brought &= not (vanished and self._is_held(record, known))
        if brought and not record.in_place:
            files.brings(size)
        if brought or (fate is Fate.UNDER_WAY and state is FileState.UPLOADED):
            files.registered += 1
        if state in ENDING:
            return
        self.datasets.setdefault(record.dataset, record.containers)
        if brought or vanished or not reached(state, FileState.REPLICATING):
            files.coming += size
        if record.metadata and record.described_at is None:
            files.described += fate is not Fate.THERE and not record.adopted
        if reached(state, FileState.VERIFIED) and not vanished:
            return
        files.read_back += sum(rule.copies for rule in self._promise.rules)
        self._transfers(known, size)

    def _transfers(self, known: Known | None, size: int) -> None:
        there = {self._promise.lake.upload_rse}
        if isinstance(known, KnownFile):
            there |= {rse for rse, replica in known.replicas.items() if replica.available}
        for rule in self._promise.rules:
            have = len(there.intersection(self._at[rule.rse_expression]))
            if (lacking := rule.copies - have) > 0:
                self.files.moves_to(rule.rse_expression, lacking, size)

    def _refuse(self, record: FileRecord, error: InjectError) -> None:
        self._set_aside(SetAside(record.did, error.code, error.message, error.hint))

    def _set_aside(self, refused: SetAside) -> None:
        self.files.count[Fate.ASIDE] += 1
        self.files.refuse(refused)


def _goes_on_from(record: FileRecord) -> FileState:
    """The state that a file goes on from; one that was set aside is tried again."""
    return record.failure.came_from if record.failure else record.state


def _twice(fact: FileFound) -> NameSkipped:
    return NameSkipped(
        at=fact.at,
        path=fact.path,
        code=NameRefused.code,
        reason=f"{fact.path} would be {fact.did}, which is offered before already",
        hint="leave it out where it is named again",
    )
