"""Declaring uploaded files in the catalogue, in their datasets, and what their names tell."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Lock
from typing import TypeAlias

from rucio_inject.batches import batches, divided
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError
from rucio_inject.domain.facts import Fact, FileDescribed, FileRegistered
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.ports import Catalogue, Clock, NewFile
from rucio_inject.steps.compare import measure_of
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.organise import Organise, grouped
from rucio_inject.steps.pool import in_threads

# Files in one call: some of them are under way at a time.
PLACED_AT_ONCE = 250
# Calls at a time: a Rucio server has some workers, and other users.
CALLS = 4
# A file is not kept waiting longer for others to go with it, in seconds.
LONGEST_WAIT = 1.0
# Rucio sets metadata file by file, so that many of them take it seconds.
DESCRIBED_AT_ONCE = 100

Refused: TypeAlias = dict[DID, InjectError]


class PlaceFiles:
    """Registers uploaded files and puts them into their datasets in one call for many, which
    Rucio does whole or not at all. The datasets have their rules by then."""

    def __init__(
        self,
        journal: Journal,
        catalogue: Catalogue,
        organise: Organise,
        rse: str,
        *,
        in_place: bool = False,
    ) -> None:
        """`in_place`: where the files lie is told, since Rucio could not say it of the RSE."""
        self._in_place = in_place
        self._journal = journal
        self._catalogue = catalogue
        self._organise = organise
        self._rse = rse
        self._organising = Lock()

    def run(self, uploaded: Iterable[list[FileRecord]]) -> None:
        """Place files as they come, UPLOADED; what Rucio refuses is set aside file by file."""
        crew = self._journal.crew
        files = _gathered(uploaded, crew.clock)
        for calls in in_threads(files, self._place, workers=CALLS, crew=crew, ahead=1, gather=0):
            for _, outcome in calls:
                if isinstance(outcome, InjectError):
                    raise outcome
                placed, refused = outcome
                self._journal.tell(fact for r in placed for fact in self._facts(r, refused))

    def prepare(self, coming: Iterable[list[FileRecord]]) -> Iterator[list[FileRecord]]:
        """Pass files on whose bytes are still to be brought; their datasets are made meanwhile, so
        that the first files that are there need not wait for them."""
        crew = self._journal.crew
        pool = crew.hire(1)
        making: deque[Future[None]] = deque()
        for files in coming:
            while making and making[0].done():
                making.popleft().result()
            making.append(pool.submit(self._make_early, files))
            yield files
        pool.shutdown()
        crew.let_go(pool)
        for made in making:
            made.result()

    def _make_early(self, files: Sequence[FileRecord]) -> None:
        # Whoever places the files meets it again, and tells.
        with self._organising, suppress(InjectError):
            self._organise.make_early(files)

    def leftover(self) -> Iterator[list[FileRecord]]:
        """Uploads of an earlier run."""
        return batches(self._journal.ledger.files({FileState.UPLOADED}), PLACED_AT_ONCE)

    def _place(self, files: Sequence[FileRecord]) -> tuple[list[FileRecord], Refused]:
        """Gives the files that were to be placed, and why those that were not are not."""
        refused: Refused = {}
        # One at a time: others wait for the dataset that this one makes.
        with self._organising:
            ready = self._organise.make_ready(files)

        def place(some: Sequence[FileRecord]) -> None:
            contents = {
                dataset: [NewFile(r.did, measure_of(r), self._pfn(r)) for r in held]
                for dataset, held in grouped(some).items()
            }
            self._catalogue.place_files(self._rse, contents)

        divided(ready, place, lambda record, error: refused.update({record.did: error}))
        return ready, refused

    def _pfn(self, record: FileRecord) -> str | None:
        return record.path if self._in_place else None

    def _facts(self, record: FileRecord, refused: Refused) -> Iterator[Fact]:
        if record.did in refused:
            yield self._journal.failed(record.did, refused[record.did])
            return
        now, pfn = self._journal.clock.now(), record.replicas[self._rse].pfn
        yield FileRegistered(at=now, did=record.did, rse=self._rse, pfn=pfn)
        yield self._organise.put_in(record)


def _gathered(
    uploaded: Iterable[list[FileRecord]], clock: Clock
) -> Iterator[list[FileRecord] | None]:
    """Files in lists that are worth a call, or whose first one has waited long enough; None while
    none come, so that what became of the last ones is told meanwhile."""
    waiting: list[FileRecord] = []
    since = clock.monotonic()
    for files in uploaded:
        if not waiting:
            since = clock.monotonic()
        waiting += files
        while len(waiting) >= PLACED_AT_ONCE or (
            waiting and clock.monotonic() - since >= LONGEST_WAIT
        ):
            yield waiting[:PLACED_AT_ONCE]
            waiting = waiting[PLACED_AT_ONCE:]
        if not files:
            yield None
    if waiting:
        yield waiting


class DescribeFiles:
    """Sets the metadata of files, once they are in the catalogue: nothing waits for it."""

    def __init__(self, journal: Journal, catalogue: Catalogue) -> None:
        self._journal = journal
        self._catalogue = catalogue

    def run(self) -> None:
        """Describe the files in the lake that are not yet. What others have put there keeps what
        they say of it. Metadata that Rucio refuses set their file aside."""
        clock, crew = self._journal.clock, self._journal.crew
        lacking = (
            record
            for record in self._journal.ledger.files({FileState.REPLICATING})
            if record.described_at is None and record.metadata and not record.adopted
        )
        some = batches(lacking, DESCRIBED_AT_ONCE)
        for calls in in_threads(some, self._describe, workers=CALLS, crew=crew, ahead=1):
            for files, refused in calls:
                if isinstance(refused, InjectError):
                    raise refused
                now = clock.now()
                self._journal.tell(
                    self._journal.failed(r.did, refused[r.did])
                    if r.did in refused
                    else FileDescribed(at=now, did=r.did)
                    for r in files
                )

    def _describe(self, files: Sequence[FileRecord]) -> Refused:
        refused: Refused = {}

        def describe(some: Sequence[FileRecord]) -> None:
            self._catalogue.set_metadata({record.did: record.metadata for record in some})

        divided(files, describe, lambda record, error: refused.update({record.did: error}))
        return refused
