"""Storages that are reached through a protocol class of Rucio's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import stat_result
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.errors import (
    FileRefused,
    ReplicaMissing,
    StorageError,
    StorageRefused,
)
from rucio_inject.measuring import check_unchanged, measure_file, source_stat
from rucio_inject.ports import StoredFile
from rucio_inject.rucio import answers
from rucio_inject.rucio.errors import storage_errors
from rucio_inject.rucio.posix import POSIX, disk_full, size_of

# A disk with less than this, in bytes, is full.
_NO_ROOM = 1 << 20


@dataclass(frozen=True, slots=True)
class RemoteAccess:
    """A protocol that is connected, for one call: `doing` begins the messages of its errors.

    `prefixes` are those of the RSE's posix protocols; `folder` takes what is read and not kept,
    None is the system's folder for temporary files. What Rucio raises goes through, for
    `storage_errors`.
    """

    doing: str
    protocol: Any
    prefixes: Sequence[str]
    folder: Path | None

    def shows(self, pfn: str) -> bool:
        """Whether the storage shows a file."""
        if urlsplit(pfn).scheme == POSIX:
            return size_of(self.doing, self.prefixes, pfn) is not None
        return bool(self.protocol.exists(pfn))

    def write(self, source: Path, found: stat_result, partial: str) -> Measure:
        """Measure a source, whose stat was `found`, and send it. Raises what `measure_file`
        raises."""
        measure = measure_file(source)
        self._put(source, partial)
        check_unchanged(source, found, source_stat(source))
        return measure

    def _put(self, source: Path, partial: str) -> None:
        place = urlsplit(partial)
        if place.scheme == POSIX:
            # Of a site's own class. Rucio's fails if another thread makes the same folder.
            Path(place.path).parent.mkdir(parents=True, exist_ok=True)
        try:
            self.protocol.put(str(source), partial)
        except KeyError as error:
            # When a storage refuses, Rucio's posix protocol trips over its own settings.
            if isinstance(cause := error.__context__, OSError):
                raise OSError(cause.errno, cause.strerror) from error
            raise

    def rename(self, partial: str, pfn: str) -> None:
        """Give a file its name."""
        self.protocol.rename(partial, pfn)

    def discard(self, partial: str) -> bool:
        """Remove what a failed try left; whether it is gone: the first error is the one to tell."""
        with suppress(StorageError), storage_errors(self.doing):
            self.protocol.delete(partial)
            return True
        return False

    def delete(self, pfn: str) -> None:
        """Remove a file."""
        self.protocol.delete(pfn)

    def get(self, pfn: str, path: Path) -> Measure:
        """Read a replica into a local file, and measure what arrived. DiskFull if that has no
        room."""
        try:
            with storage_errors(self.doing):
                self.protocol.get(pfn, str(path))
            return measure_file(path)
        except StorageError:
            # Rucio's protocols put it to the storage that the local disk is full.
            if path.parent.is_dir() and shutil.disk_usage(path.parent).free < _NO_ROOM:
                raise disk_full(self.doing, path.parent) from None
            raise
        except FileRefused as error:
            raise StorageRefused(f"{self.doing}: what came cannot be used: {error}") from error

    def measure(self, pfn: str) -> Measure:
        """Read a replica into a file that goes away again."""
        with self._temporary() as folder:
            return self.get(pfn, folder / "copy")

    def checksum(self, pfn: str) -> StoredFile:
        """What the storage tells; what it does not tell is found by reading."""
        found = self.stat(pfn)
        if found is None:
            raise ReplicaMissing(f"{self.doing}: it is not there")
        if found.size is not None and found.adler32 is not None:
            return found
        measure = self.measure(pfn)
        return StoredFile(pfn, measure.size, measure.adler32)

    def stat(self, pfn: str) -> StoredFile | None:
        """What the storage tells of a file; None if it is not there. StorageRefused for nonsense.

        Some protocols cannot tell more than that it is there.
        """
        if not self.protocol.exists(pfn):
            return None
        try:
            return answers.stored_file(pfn, self.protocol.stat(pfn))
        except NotImplementedError:
            return StoredFile(pfn)
        except ValueError as error:
            raise StorageRefused(f"{self.doing}: the answer makes no sense ({error})") from error

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        try:
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
            made = TemporaryDirectory(prefix="rucio-inject-", dir=self.folder)
        except OSError as error:
            raise StorageRefused(
                f"{self.doing}: cannot make a folder for what is read: {error}",
                hint="make room, or name another output folder",
            ) from error
        with made as name:
            yield Path(name)
