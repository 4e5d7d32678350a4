"""Storages that are reached through a driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from os import stat_result
from pathlib import Path
from typing import Any

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.errors import ReplicaMissing, SignInFailed, StorageError
from rucio_inject.ports import StoredFile
from rucio_inject.rucio.beside import Beside
from rucio_inject.rucio.drivers.driver import Driver, Entry
from rucio_inject.rucio.errors import storage_errors
from rucio_inject.rucio.posix import LocalFile


def walk_if_there(driver: Driver, folder: str) -> Iterator[Entry]:
    """The files below a folder; nothing if it is not there."""
    with suppress(FileNotFoundError):
        yield from driver.walk(folder)


def walk_below(doing: str, driver: Driver, folder: str) -> Iterator[Entry]:
    """The files below a folder. ReplicaMissing if it is not there, before anything is drawn."""
    entries = driver.walk(folder)
    with storage_errors(doing):
        try:
            first = list(islice(entries, 1))
        except FileNotFoundError as error:
            raise ReplicaMissing(f"{doing}: there is no folder {folder}") from error
    return chain(first, entries)


@dataclass(frozen=True, slots=True)
class DrivenAccess:
    """A driver, for one call: `doing` begins the messages of its errors; `protocol` is Rucio's, of
    which only what computes names is used. OSError goes through, for `storage_errors`."""

    doing: str
    protocol: Any
    driver: Driver

    def shows(self, pfn: str) -> bool:
        """Whether the storage shows a file."""
        return self.driver.look(pfn) is not None

    def write(self, source: Path, found: stat_result, partial: str) -> Measure:
        """Send a source, whose stat was `found`, and measure it on the way."""
        return self.driver.send(source, partial, found.st_size)

    def rename(self, partial: str, pfn: str) -> None:
        """Give a file its name."""
        self.driver.move(partial, pfn)

    def discard(self, partial: str) -> bool:
        """Remove what a failed try left; whether it is gone: the first error is the one to tell."""
        with suppress(StorageError, SignInFailed), storage_errors(self.doing):
            with suppress(FileNotFoundError):
                self.driver.remove(partial)
            return True
        return False

    def get(self, pfn: str, path: Path) -> Measure:
        """Read a replica into a local file. DiskFull if that has no room."""
        found = self._there(pfn)
        with LocalFile(self.doing, path) as copy, Beside(found.size) as beside:

            def take(block: bytes) -> None:
                copy.write(memoryview(block))
                beside.update(block)

            self._fetch(found, take)
            return beside.measure()

    def measure(self, pfn: str) -> Measure:
        """Read a replica."""
        found = self._there(pfn)
        with Beside(found.size) as beside:
            self._fetch(found, beside.update)
            return beside.measure()

    def checksum(self, pfn: str) -> StoredFile:
        """What the storage tells; read, if it does not."""
        found = self._there(pfn)
        with storage_errors(self.doing):
            told = self.driver.adler32(pfn, found.size)
        if told is not None:
            return StoredFile(pfn, found.size, told)
        measure = self.measure(pfn)
        return StoredFile(pfn, measure.size, measure.adler32)

    def stat(self, pfn: str) -> StoredFile | None:
        """What the storage tells of a file; None if it shows none."""
        found = self.driver.look(pfn)
        return None if found is None else StoredFile(pfn, found.size)

    def delete(self, pfn: str) -> None:
        """Remove a file."""
        self.driver.remove(pfn)

    def _there(self, pfn: str) -> Entry:
        found = self.driver.look(pfn)
        if found is None:
            raise ReplicaMissing(
                f"{self.doing}: it is not there", hint="`rucio replica list file` shows who has it"
            )
        return found

    def _fetch(self, found: Entry, write: Any) -> None:
        # Errors of the local file are told as what they are already.
        with storage_errors(self.doing):
            self.driver.fetch(found.url, found.size, write)
