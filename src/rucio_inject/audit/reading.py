"""Replicas read back for an audit, and what can be said of them without reading."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self, TypeVar

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.errors import StorageRefused
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.ports import Storage

T = TypeVar("T")

# Files in one call to the catalogue.
BATCH = 500


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """The items in lists of `BATCH`; the last one is shorter."""
    coming = iter(items)
    while batch := list(islice(coming, BATCH)):
        yield batch


def reached_state(record: FileRecord) -> FileState:
    """How far a file has come; one that was set aside had come from somewhere."""
    return record.failure.came_from if record.failure else record.state


class Reader:
    """Reads replicas back into a folder of its own, which is there only while it is needed."""

    def __init__(self, storage: Storage, folder: Path) -> None:
        """`folder` holds the copies: one for each thread, and not for long."""
        self.storage = storage
        self._folder = folder
        self._made: TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        """Make nothing yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the folder, with whatever is in it."""
        if self._made is not None:
            self._made.cleanup()

    def prepare(self) -> None:
        """Make the folder; before threads read. StorageRefused if the disk does not let us."""
        if self._made is None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._made = TemporaryDirectory(prefix="audit-", dir=self._folder)
            except OSError as error:
                raise StorageRefused(
                    f"cannot make a folder for what is read back: {error}",
                    hint="make room, or name another output folder",
                ) from error

    def measure(self, rse: str, pfn: str) -> Measure:
        """Read a replica back, whole. Raises what `Storage.get` raises."""
        assert self._made is not None
        copy = Path(self._made.name) / hashlib.sha256(f"{rse} {pfn}".encode()).hexdigest()
        try:
            return self.storage.get(rse, pfn, copy)
        finally:
            copy.unlink(missing_ok=True)


def difference(reader: Reader, rse: str, pfn: str, wanted: Measure, *, read: bool) -> str | None:
    """How a replica differs from what it should be, in words: empty if it does not, None if it is
    not there.

    Without `read` only what the storage tells of it counts. A storage's own checksum saves the
    reading.
    """
    found = reader.storage.stat(rse, pfn)
    if found is None:
        return None
    if found.size is not None and found.size != wanted.size:
        return f"size: {wanted.size} != {found.size}"
    if found.adler32 is not None and found.adler32 != wanted.adler32:
        return f"adler32: {wanted.adler32} != {found.adler32}"
    if not read or found.adler32 is not None:
        return ""
    return ", ".join(wanted.differences(reader.measure(rse, pfn)))
