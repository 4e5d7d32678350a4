"""Finding files: each gets its DID, dataset and containers from its name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from rucio_inject.batches import batches
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError, NameRefused, NothingToInject, SourceChanged
from rucio_inject.domain.facts import (
    CycleBegun,
    Fact,
    FileAnnounced,
    FileFound,
    NameSkipped,
    SourceSentAgain,
)
from rucio_inject.domain.injection import FileRecord, FileState, SourceCopy
from rucio_inject.domain.place import Place
from rucio_inject.measuring import there
from rucio_inject.ports import LeftOut, Source, SourceFile
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.looks import Looks
from rucio_inject.steps.unchanged import refuse_other_place

BATCH = 1000

Closed: TypeAlias = Callable[[Collection[DID]], Collection[DID]]
"""Those of some datasets that take no more."""


class Discover:
    """Asks a source what there is, and puts it on record."""

    def __init__(
        self,
        journal: Journal,
        source: Source,
        place: Callable[[str], Place],
        cycle: int,
        *,
        closed: Closed | None = None,
        looks: Looks | None = None,
    ) -> None:
        """`place` gives a name its place in the catalogue, or raises NameRefused; `cycle` is the
        one that new files belong to; `closed` tells which datasets take no more; `looks`: which
        look of a watch this is, if it is of one."""
        self._looks = looks or Looks(journal.clock)
        self._closed = closed
        self._journal = journal
        self._source = source
        self._place = place
        self._cycle = cycle
        self.not_yet: list[LeftOut] = []
        """What the source sees and offers later."""
        self.rewritten: set[DID] = set()
        """Files that lie at an RSE, and that are not what was injected of them any more."""

    def run(self) -> int:
        """Put everything found on record; how many names were skipped.

        A file that is on record already stays as it is, unless it had failed: then it goes on
        from where it came from, if this look of a watch is to try it again. Without a watch it
        always is, since asking again is what a person does who has mended the cause.
        """
        skipped, self.not_yet = 0, []
        self.rewritten.clear()
        begun = self._is_open()
        for facts in self.look():
            found = next((fact for fact in facts if isinstance(fact, FileFound)), None)
            begins: list[Fact] = []
            if found is not None and not begun:
                begins = [CycleBegun(at=found.at, cycle=self._cycle)]
                begun = True
            skipped += sum(isinstance(fact, NameSkipped) for fact in facts)
            self._journal.tell([*begins, *facts])
        # Last: if the campaign is refused, nothing has been set going.
        self._retry()
        return skipped

    def look(self) -> Iterator[list[Fact]]:
        """What is new about what the source offers, some names at a time; changes nothing.

        A name that is offered twice is found again if nobody has put it on record meanwhile.
        """
        # Not the DIDs themselves: there may be a million. Who has one is asked of the record.
        taken: set[int] = set()
        for offered in batches(self._offered(), BATCH):
            yield self._facts(offered, taken)

    def _retry(self) -> None:
        """Let failed files go on; one that is in the lake needs its source no more."""
        aside = self._journal.ledger.files({FileState.QUARANTINED})
        for files in batches(self._looks.again(aside)):
            self._journal.retry(files)

    def _offered(self) -> Iterator[SourceFile | LeftOut]:
        """What the source offers; a source that was emptied since is no mistake."""
        try:
            yield from self._source.files()
        except NothingToInject:
            if not self._journal.ledger.counts():
                raise

    def _is_open(self) -> bool:
        """Whether the ledger is at our cycle. One that had ended begins again with a new file."""
        return self._journal.ledger.cycle == self._cycle and not self._journal.ledger.cycle_ended

    def _facts(self, offered: Sequence[SourceFile | LeftOut], taken: set[int]) -> list[Fact]:
        """What is new about some offered files. `taken`: digests of the DIDs offered before."""
        facts: list[Fact] = []
        placed = list(self._placed(offered, facts))
        known = self._journal.ledger.known([place.did for _, place in placed])
        paths: dict[DID, str] = {}
        for file, place in self._past_closed(placed, known):
            record, key = known.get(place.did), digest(place.did)
            # Two digests may be the same by chance: then nobody has the DID.
            other = paths.get(place.did) or (record.path if record and key in taken else None)
            if other is not None:
                facts.append(self._skipped(file.where, _twice(place.did, file, other)))
            elif record is None:
                facts.append(self._found(file, place))
            else:
                refuse_other_place(record, place)
                facts += self._seen_again(file, record)
            paths.setdefault(place.did, file.where)
        taken.update(map(digest, paths))
        return facts

    def _past_closed(
        self, placed: Sequence[tuple[SourceFile, Place]], known: Collection[DID]
    ) -> Iterator[tuple[SourceFile, Place]]:
        """The same files, but new ones that come too late for their dataset go to another."""
        new = {p.dataset for _, p in placed if p.did not in known and p.late is not None}
        full = self._closed(new) if new and self._closed is not None else ()
        for file, place in placed:
            if place.late is not None and place.did not in known and place.dataset in full:
                yield file, replace(place, dataset=place.late)
            else:
                yield file, place

    def _placed(
        self, offered: Sequence[SourceFile | LeftOut], facts: list[Fact]
    ) -> Iterator[tuple[SourceFile, Place]]:
        """Files whose names are understood. Why others are not taken goes to `facts`."""
        for file in offered:
            if isinstance(file, LeftOut):
                if file.later:
                    self.not_yet.append(file)
                else:
                    hint = "mend it, then run the same command again"
                    facts.append(self._skipped(file.where, NameRefused(file.reason, hint=hint)))
                continue
            try:
                yield file, self._place(file.name)
            except NameRefused as error:
                facts.append(self._skipped(file.where, error))

    def _seen_again(self, file: SourceFile, record: FileRecord) -> Iterator[Fact]:
        """What is new about a file that is on record."""
        if record.state is FileState.QUARANTINED and file.where == record.path:
            self._looks.offered(record, file)
        if record.measure is None:
            # Another file of its name may be offered first now: that tells nothing of this one.
            about = file.announced if file.where == record.path else None
            if about is not None and about != record.announced:
                now = self._journal.clock.now()
                yield FileAnnounced(at=now, did=record.did, announced=about)
        elif record.source is SourceCopy.FREED and not record.generated:
            yield from self._sent_again(file, record)
        elif error := _listed_anew(file, record) or self._rewritten(file, record):
            if record.in_place:
                self.rewritten.add(record.did)
            yield self._skipped(file.where, error)

    def _sent_again(self, file: SourceFile, record: FileRecord) -> Iterator[Fact]:
        """What is new about a file whose source we removed, and that is offered again. It is read,
        whatever its time says: whoever sent it may have set that."""
        if record.in_place:
            # Only a listing shows that it is there, where a list names it still.
            if file.announced is not None:
                yield self._skipped(file.where, _there_again(file, record))
            return
        # A list names it still.
        try:
            if not there(file.path):
                return
            measure = self._looks.measure(file.path)
        except InjectError as error:
            yield self._skipped(file.where, error)
            return
        wrong = record.measure.differences(measure) if record.measure else ()
        if wrong:
            yield self._skipped(file.where, _written_anew(file, record, wrong))
        elif file.where != record.path:
            yield self._skipped(file.where, _twice(record.did, file, record.path))
        else:
            now = self._journal.clock.now()
            yield SourceSentAgain(at=now, did=record.did, measure=measure)

    def _rewritten(self, file: SourceFile, record: FileRecord) -> InjectError | None:
        """Why what lies at the source now is not the file on record; None if it is, or if neither
        its size nor its time says that it was written to since that was measured."""
        if record.measure is None:
            return None
        if file.size is not None and file.size != record.measure.size:
            # Whatever its time says: a file server's clock may be behind ours.
            wrong: Sequence[str] = (f"size: {record.measure.size} != {file.size}",)
            return _written_anew(file, record, wrong)
        since = record.measured_at
        if file.modified is None or since is None or file.modified <= since:
            return None
        try:
            wrong = record.measure.differences(self._looks.measure(file.path))
        except InjectError as error:
            return error
        return _written_anew(file, record, wrong) if wrong else None

    def _found(self, file: SourceFile, place: Place) -> FileFound:
        return FileFound(
            at=self._journal.clock.now(),
            did=place.did,
            path=file.where,
            dataset=place.dataset,
            containers=place.containers,
            cycle=self._cycle,
            generated=file.generated,
            metadata={**place.metadata, **file.metadata},
            announced=file.announced,
            in_place=file.pfn is not None,
        )

    def _skipped(self, where: str, error: InjectError) -> NameSkipped:
        return NameSkipped(
            at=self._journal.clock.now(),
            path=where,
            code=error.code,
            reason=error.message,
            hint=error.hint,
        )


def _twice(did: DID, offered: SourceFile, other: str) -> NameRefused:
    """Why what was offered as `other` before is not taken again."""
    if other == offered.where:
        return NameRefused(
            f"{offered.name} is named more than once: it is injected once",
            hint="leave it out where it is named again",
        )
    return NameRefused(
        f"{offered.where} would be {did}, as {other} is already",
        hint="two files of one name: rename one, or inject them in two campaigns",
    )


def _listed_anew(file: SourceFile, record: FileRecord) -> InjectError | None:
    """Why what is listed at an RSE is not the file on record, as far as its size tells."""
    told = file.announced if record.in_place and file.where == record.path else None
    if told is None or record.measure is None:
        return None
    wrong = told.differences(record.measure)
    return _written_anew(file, record, wrong) if wrong else None


def _there_again(file: SourceFile, record: FileRecord) -> SourceChanged:
    return SourceChanged(
        f"{file.where} is there again after {record.did} was freed at {record.upload_rse}: the "
        "lake keeps what it has, and this stays where it is",
        hint="give new content a name of its own; what Rucio does not know is removed by hand",
    )


def _written_anew(file: SourceFile, record: FileRecord, wrong: Sequence[str]) -> SourceChanged:
    return SourceChanged(
        f"{file.where} was written anew after {record.did} was injected ({', '.join(wrong)}): the "
        "lake keeps what it has",
        hint="give the new content a name of its own",
    )


def digest(did: DID) -> int:
    """64 bits that stand for a DID: a tenth of what a million DIDs would take."""
    return int.from_bytes(hashlib.blake2b(str(did).encode(), digest_size=8).digest())
