"""Finding files: each gets its DID, dataset and containers from its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import NameRefused, NothingToInject
from rucio_inject.domain.facts import CycleBegun, Fact, FileFound, FileRetried, NameSkipped
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.ports import Source, SourceFile
from rucio_inject.steps.batches import batches
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.unchanged import changed

BATCH = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file belongs in the catalogue."""

    did: DID
    dataset: DID
    containers: tuple[DID, ...]
    metadata: Mapping[str, str | int]


class Discover:
    """Asks a source what there is, and puts it on record."""

    def __init__(
        self, journal: Journal, source: Source, place: Callable[[str], Place], cycle: int
    ) -> None:
        """`place` gives a name its place in the catalogue, or raises NameRefused; `cycle` is the
        one that new files belong to."""
        self._journal = journal
        self._source = source
        self._place = place
        self._cycle = cycle

    def run(self) -> int:
        """Put everything found on record; how many names were skipped.

        A file that is on record already stays as it is, unless it had failed: then it goes on
        from where it came from, since asking again is what a person does who has mended the cause.
        """
        self._retry()
        skipped = 0
        facts: list[Fact] = []
        taken: dict[DID, str] = {}
        for offered in self._offered():
            fact = self._fact(offered, taken)
            if isinstance(fact, FileFound) and not self._is_open():
                self._journal.tell([CycleBegun(at=fact.at, cycle=self._cycle)])
            if fact is not None:
                facts.append(fact)
            skipped += isinstance(fact, NameSkipped)
            if len(facts) >= BATCH:
                self._journal.tell(facts)
                facts = []
        self._journal.tell(facts)
        return skipped

    def _retry(self) -> None:
        """Let failed files go on; one that is in the lake needs its source no more."""
        for files in batches(self._journal.ledger.files({FileState.QUARANTINED})):
            now = self._journal.clock.now()
            self._journal.tell(FileRetried(at=now, did=record.did) for record in files)

    def _offered(self) -> Iterator[SourceFile]:
        """What the source offers; a source that was emptied since is no mistake."""
        try:
            yield from self._source.files()
        except NothingToInject:
            if not self._journal.ledger.counts():
                raise

    def _is_open(self) -> bool:
        """Whether the ledger is at our cycle. One that had ended begins again with a new file."""
        return self._journal.ledger.cycle == self._cycle and not self._journal.ledger.cycle_ended

    def _fact(self, offered: SourceFile, taken: dict[DID, str]) -> Fact | None:
        path = str(offered.path)
        try:
            place = self._place(offered.name)
            if place.did in taken:
                raise NameRefused(
                    f"{path} would be {place.did}, as {taken[place.did]} is already",
                    hint="two files of one name: rename one, or inject them in two campaigns",
                )
        except NameRefused as error:
            return self._skipped(path, error)
        taken[place.did] = path
        record = self._journal.ledger.file(place.did)
        now = self._journal.clock.now()
        if record is None:
            return FileFound(
                at=now,
                did=place.did,
                path=path,
                dataset=place.dataset,
                containers=place.containers,
                cycle=self._cycle,
                generated=offered.generated,
                metadata=place.metadata,
            )
        _refuse_other_place(record, place)
        return None

    def _skipped(self, path: str, error: NameRefused) -> NameSkipped:
        return NameSkipped(
            at=self._journal.clock.now(),
            path=path,
            code=error.code,
            reason=error.message,
            hint=error.hint,
        )


def _refuse_other_place(record: FileRecord, place: Place) -> None:
    """A file is in its dataset for good: with another naming its records would tell lies."""
    if record.dataset != place.dataset:
        raise changed("naming.dataset", f"{record.dataset} for {record.did}", str(place.dataset))
    if record.containers != place.containers:
        before, now = (
            ", ".join(map(str, chain)) for chain in (record.containers, place.containers)
        )
        raise changed("naming.containers", f"{before} for {record.did}", now)
