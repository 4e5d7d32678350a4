"""Files that are at the upload RSE before us: they are asked about, and nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.errors import InjectError, ReplicaMissing, SourceChanged, StorageRefused
from rucio_inject.domain.facts import FileFact, FileMeasured, FileUploaded
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.domain.story import advance
from rucio_inject.ports import Source, Storage, Stored
from rucio_inject.steps.compare import measure_of
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.measure import MeasureFiles
from rucio_inject.steps.pool import SILENT, in_threads


def refuse_changed(record: FileRecord, measure: Measure) -> None:
    """SourceChanged if a file is not what was measured, or what the listing showed, any more."""
    if record.measure:
        before, wrong = "was measured", measure_of(record).differences(measure)
    else:
        before = "was listed"
        wrong = record.announced.differences(measure) if record.announced else ()
    if wrong:
        raise SourceChanged(
            f"{record.path} is not what {before} any more ({', '.join(wrong)})",
            hint="is it still being written? run the same command again when it is complete",
        )


class MeasureInPlace(MeasureFiles):
    """Asks the storage for size and adler32 of files that it holds; with `read`, reads them whole
    for their md5, too."""

    def __init__(
        self,
        journal: Journal,
        source: Source,
        storage: Storage,
        *,
        rse: str,
        workers: int,
        read: bool,
    ) -> None:
        super().__init__(journal, source, workers, makes=False)
        self._storage = storage
        self._rse = rse
        self._read = read

    def _measure(self, record: FileRecord) -> Measure:
        measure = self.ask(record)
        refuse_changed(record, measure)
        return measure

    def ask(self, record: FileRecord) -> Measure:
        """What the storage holds now."""
        if self._read:
            return self._storage.measure(self._rse, record.path)
        found = self._storage.checksum(self._rse, record.path)
        if found.size is None or found.adler32 is None:
            raise StorageRefused(
                f"the storage of {self._rse} tells no checksum of {record.path}",
                hint="let files be read for it: source.read: true in the campaign",
            )
        return Measure(found.size, found.adler32, None)


class TakeAsTheyLie:
    """In the place of an upload: proves that the storage holds the files, and touches none."""

    def __init__(
        self, journal: Journal, measure: MeasureInPlace, *, rse: str, workers: int
    ) -> None:
        self._journal = journal
        self._measure = measure
        self._rse = rse
        self._workers = workers

    def look_again(self) -> None:
        """Ask about the UPLOADED ones once more: nobody has registered them since."""
        uploaded = self._journal.ledger.files({FileState.UPLOADED})
        for batch in in_threads(
            uploaded, self._still, workers=self._workers, crew=self._journal.crew
        ):
            self._journal.tell(
                self._journal.failed(record.did, outcome)
                for record, outcome in batch
                if isinstance(outcome, InjectError)
            )

    def run(self, batches: Iterable[list[FileRecord]]) -> Iterator[list[FileRecord]]:
        """Ask about files that the catalogue does not have there; yields those that are UPLOADED
        by it. Each file's failure is its own."""
        files = (record for batch in batches for record in batch)
        crew = self._journal.crew
        for batch in in_threads(
            files, self._still, workers=self._workers, crew=crew, silent=SILENT
        ):
            told = [(record, list(self._facts(record, outcome))) for record, outcome in batch]
            self._journal.tell(fact for _, facts in told for fact in facts)
            known = (reduce(advance, facts, record) for record, facts in told)
            yield [record for record in known if record.state is FileState.UPLOADED]

    def again(
        self, files: Sequence[FileRecord]
    ) -> Iterator[list[tuple[FileRecord, Stored | InjectError]]]:
        """Files that were registered before and are on no RSE any more, as the storage has them
        still; what came of each, some at a time."""
        crew = self._journal.crew
        for batch in in_threads(files, self._still, workers=self._workers, crew=crew):
            yield [
                (record, out if isinstance(out, InjectError) else Stored(record.path, out))
                for record, out in batch
            ]

    def _still(self, record: FileRecord) -> Measure:
        """What the storage holds, if it is what was measured."""
        try:
            measure = self._measure.ask(record)
        except ReplicaMissing as error:
            raise ReplicaMissing(
                f"{record.path} is not at {self._rse} any more",
                hint="was it moved? what was injected of it so far stays on record",
            ) from error
        refuse_changed(record, measure)
        return measure

    def _facts(self, record: FileRecord, outcome: Measure | InjectError) -> Iterator[FileFact]:
        now = self._journal.clock.now()
        if isinstance(outcome, InjectError):
            yield self._journal.failed(record.did, outcome)
            return
        if record.measure is None:
            yield FileMeasured(at=now, did=record.did, measure=outcome)
        yield FileUploaded(at=now, did=record.did, rse=self._rse, pfn=record.path, in_place=True)
