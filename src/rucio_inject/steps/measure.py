"""Size and checksums of a file, in one pass over its bytes."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.errors import InjectError, SourceChanged, SourceUnreadable, StorageRefused
from rucio_inject.domain.facts import FileMeasured
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.ports import Source
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.pool import in_threads

BLOCK = 1 << 20


def measure_file(path: Path) -> Measure:
    """Read a file once: its size, adler32 and md5.

    SourceUnreadable if it cannot be read, SourceChanged if it changed meanwhile.
    """
    adler32, md5, size = zlib.adler32(b""), hashlib.md5(usedforsecurity=False), 0
    try:
        with path.open("rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            # A file that is being written to might never end.
            while size <= before.st_size and (block := file.read(BLOCK)):
                adler32 = zlib.adler32(block, adler32)
                md5.update(block)
                size += len(block)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise SourceUnreadable(
            f"cannot read {path}: {error.strerror}",
            hint="check that it is there and that you may read it",
        ) from error
    same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    if not same or size != after.st_size:
        raise SourceChanged(
            f"{path} changed while it was read",
            hint="is it still being written? inject it when it is complete",
        )
    return Measure(size, f"{adler32:08x}", md5.hexdigest())


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
