"""Measuring what a source offers, once its bytes are there."""

from __future__ import annotations

from pathlib import Path

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.errors import InjectError, StorageRefused
from rucio_inject.domain.facts import FileMeasured
from rucio_inject.domain.injection import FileRecord, FileState
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


class MeasureFiles:
    """Makes sure that the bytes are there, and measures them."""

    def __init__(self, journal: Journal, source: Source, workers: int) -> None:
        self._journal = journal
        self._source = source
        self._workers = workers

    def run(self) -> None:
        """Measure the files that are only FOUND. Each file's failure is its own."""
        found = self._journal.ledger.files({FileState.FOUND})
        clock = self._journal.clock
        for batch in in_threads(found, self._measure, workers=self._workers, clock=clock):
            self._journal.tell(
                self._journal.failed(record.did, outcome)
                if isinstance(outcome, InjectError)
                else FileMeasured(at=clock.now(), did=record.did, measure=outcome)
                for record, outcome in batch
            )

    def _measure(self, record: FileRecord) -> Measure:
        path = Path(record.path)
        self._source.provide(path)
        return measure_file(path)
