"""Measuring what a source offers, once its bytes are there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from pathlib import Path

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.errors import InjectError, SourceMismatch, StorageRefused
from rucio_inject.domain.facts import FileFact, FileMeasured
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.domain.story import advance
from rucio_inject.measuring import measure_file
from rucio_inject.ports import Source
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.pool import in_threads


def make_folder(folder: Path) -> None:
    """Make a folder for work files. StorageRefused if the disk does not let us."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageRefused(
            f"cannot make the folder {folder}: {error.strerror}",
            hint="make room, or name another output folder; then run the same command again",
        ) from error


def refuse_mismatch(record: FileRecord, measure: Measure) -> None:
    """SourceMismatch if a file is not what came with it says."""
    wrong = record.announced.differences(measure) if record.announced else ()
    if wrong:
        raise SourceMismatch(
            f"{record.path} is not what came with it says ({', '.join(wrong)})",
            hint="is it whole? have it sent again, with its checksum; then run the same command "
            "again",
        )


class MeasureFiles:
    """Makes sure that the bytes are there, and measures them."""

    def __init__(self, journal: Journal, source: Source, workers: int, *, makes: bool) -> None:
        """`makes`: whether the source makes files, which are then measured before all others."""
        self._journal = journal
        self._source = source
        self._workers = workers
        self._makes = makes

    def run(self, *, generated_only: bool, go_on: Callable[[], bool] = lambda: True) -> None:
        """Measure the files that are only FOUND, as long as we may `go_on`. Each file's failure is
        its own.

        `generated_only`: others are measured while they are uploaded, in one pass over their
        bytes; those that are to be made are made before, so that it is known what will come.
        """
        if generated_only and not self._makes:
            # There may be a million others to be looked through.
            return
        found = self._journal.ledger.files({FileState.FOUND})
        wanted = (r for r in found if r.generated or not generated_only)
        for _ in self.measured(takewhile(lambda _: go_on(), wanted)):
            pass

    def measured(self, files: Iterable[FileRecord]) -> Iterator[FileRecord]:
        """Measure files; yields their records after it, but for those that are set aside."""
        clock, crew = self._journal.clock, self._journal.crew
        for batch in in_threads(files, self._measure, workers=self._workers, crew=crew):
            facts: list[FileFact] = [
                self._journal.failed(record.did, outcome)
                if isinstance(outcome, InjectError)
                else FileMeasured(at=clock.now(), did=record.did, measure=outcome)
                for record, outcome in batch
            ]
            self._journal.tell(facts)
            for (record, _), fact in zip(batch, facts, strict=True):
                if isinstance(fact, FileMeasured):
                    yield advance(record, fact)

    def _measure(self, record: FileRecord) -> Measure:
        path = Path(record.path)
        self._source.provide(path)
        measure = measure_file(path)
        refuse_mismatch(record, measure)
        return measure
