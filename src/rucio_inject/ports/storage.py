"""The storages behind the RSEs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.usage import Usage


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as a storage shows it: its size in bytes and its adler32, None where it does not tell.

    From a listing also the DID that the place is for, None if it is for none, or for a name that
    the site's schema does not take; `partial`: what an upload of ours writes before it gives
    the file its name; `modified`: when it was written to last, UTC, by the storage's own clock,
    None where that is not told.
    """

    pfn: str
    size: int | None = None
    adler32: str | None = None
    did: DID | None = None
    partial: bool = False
    modified: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Stored:
    """Where `put` has stored a file, and what it measured of the bytes while they were read for
    it."""

    pfn: str
    measure: Measure


@dataclass(frozen=True, slots=True)
class Arrived:
    """What `put` told of a file, and `checksum` of what had arrived of it."""

    stored: Stored
    found: StoredFile


class Porters(Protocol):
    """Bring small files to an RSE, many in one call, where that is quicker than one by one."""

    def carry(self, files: Sequence[tuple[Path, DID]]) -> Sequence[Arrived | None]:
        """Store local files as the replicas of their DIDs, as `put` does, and look at what arrived,
        as `checksum` does. None is said of a file of which nothing certain is known: it may lie
        there or not, and `put` tells more. Never raises for what a storage does."""
        ...

    def close(self) -> None:
        """They are needed no more: they carry nothing from now on. May be called while others
        have them carry, and again."""
        ...


class Storage(Protocol):
    """The storages behind the RSEs, through each RSE's own protocols.

    Raises StorageUnavailable when it may work later, StorageRefused when it will not, and
    ReplicaMissing for what should be there and is not.
    """

    def taken(self, rse: str, did: DID) -> str | None:
        """The PFN under which `put` would store a DID, if something lies there; None if not."""
        ...

    def put(self, rse: str, path: Path, did: DID) -> Stored:
        """Store a local file as a DID's replica, and measure what was read for it.

        The final name never shows a part of the file, and what lies under it already is never
        overwritten: PlaceTaken. SourceUnreadable if the file cannot be read, SourceChanged if it
        changed while it was: then there is nothing under the final name.
        """
        ...

    def porters(self, rse: str, most: int) -> Porters | None:
        """Such as bring small files there, up to `most` calls at a time; None where `put` is as
        quick."""
        ...

    def get(self, rse: str, pfn: str, path: Path) -> Measure:
        """Read a replica into a local file, which is overwritten, and measure what was read.
        DiskFull if it has no room."""
        ...

    def measure(self, rse: str, pfn: str) -> Measure:
        """Read a replica whole, and keep nothing of it."""
        ...

    def checksum(self, rse: str, pfn: str) -> StoredFile:
        """Size and adler32 of what the storage holds now, always both: told by it, or read
        again there."""
        ...

    def exists(self, rse: str, pfn: str) -> bool:
        """Whether the storage shows the file. Never guesses: raises if it cannot be known."""
        ...

    def stat(self, rse: str, pfn: str) -> StoredFile | None:
        """What the storage tells of a file without reading it; None if the file is not there.

        Never guesses: raises if it cannot be known.
        """
        ...

    def listing(self, rse: str, scope: str) -> Iterator[StoredFile] | None:
        """Every file below the place of a scope, in no order, while it is drawn from; None where
        the storage cannot be listed, or scopes have no place of their own.

        StorageRefused, while it is drawn from, if a part cannot be looked into.
        """
        ...

    def files_below(self, rse: str, folder: str) -> Iterator[StoredFile] | None:
        """Every file below a folder, whoever put it there, in no order, while it is drawn from;
        without links, and without what an upload has not finished. `folder` is relative to the
        RSE's prefix, and may be empty. None where the storage cannot be listed.

        ReplicaMissing if there is no such folder; StorageRefused, also while it is drawn from, if
        a part cannot be looked into.
        """
        ...

    def remove(self, rse: str, pfn: str) -> None:
        """Remove a file that is no replica in the catalogue. One that is not there is removed: an
        earlier call may have done it, whose answer was lost."""
        ...

    def count(self, rse: str, breathe: Callable[[], None] | None = None) -> Usage | None:
        """What a listing of the storage shows; None where it cannot be listed. `breathe` is called
        now and then meanwhile, and may take its time."""
        ...
