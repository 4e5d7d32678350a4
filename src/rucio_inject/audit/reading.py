"""Replicas held against what is on record, and many files looked up at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rucio_inject.batches import divided
from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.ports import Catalogue, KnownFile, Storage


def counted(count: int, what: str) -> str:
    """A count with its noun, as in 1 file or 14 files."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def reached_state(record: FileRecord) -> FileState:
    """How far a file has come; one that was set aside had come from somewhere."""
    return record.failure.came_from if record.failure else record.state


@dataclass(frozen=True, slots=True)
class Difference:
    """How bytes differ from those that were measured, in words: what is there, and what should
    be."""

    there: str
    expected: str


def compared(
    wanted: Measure, size: int | None, adler32: str | None, md5: str | None
) -> Difference | None:
    """What is known of some bytes, None where it is not, against a measure; None if they agree as
    far as that goes. Bytes of another size have other checksums: those are not told then."""
    if size not in {None, wanted.size}:
        return Difference(f"{size:,} B", f"{wanted.size:,} B (as injected)")
    pairs = (("adler32", adler32, wanted.adler32), ("md5", md5, wanted.md5))
    other = [
        (what, there, mine)
        for what, there, mine in pairs
        if None not in {there, mine} and there != mine
    ]
    if not other:
        return None
    return Difference(
        ", ".join(f"{what} {there}" for what, there, _ in other),
        ", ".join(f"{what} {mine}" for what, _, mine in other) + " (as injected)",
    )


def differs(wanted: Measure, found: Measure) -> Difference | None:
    """How bytes that were read differ from those that were measured; None if they are the same."""
    return compared(wanted, found.size, found.adler32, found.md5)


def conflict(known: KnownFile | None, record: FileRecord) -> Difference | None:
    """How the catalogue's size and checksums differ from those on record; None if they agree, or
    one of both is not there."""
    if known is None or record.measure is None:
        return None
    return compared(record.measure, known.size, known.adler32, known.md5)


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of looking at a replica: whether it is there, and how it differs."""

    there: bool
    difference: Difference | None = None

    @property
    def good(self) -> bool:
        """Whether it is there, and no difference was found."""
        return self.there and self.difference is None


def look_at(storage: Storage, rse: str, pfn: str, wanted: Measure, *, read: bool) -> Looked:
    """Look at a replica. Raises what `Storage.stat` and `Storage.measure` raise.

    Without `read` only what the storage tells of it counts. A storage's own checksum saves the
    reading.
    """
    found = storage.stat(rse, pfn)
    if found is None:
        return Looked(there=False)
    difference = compared(wanted, found.size, found.adler32, None)
    if difference is None and read and found.adler32 is None:
        difference = differs(wanted, storage.measure(rse, pfn))
    return Looked(there=True, difference=difference)


def look_up_each(
    catalogue: Catalogue, dids: Sequence[DID]
) -> tuple[Mapping[DID, KnownFile], Mapping[DID, InjectError]]:
    """What the catalogue knows of some files, and those that it refuses to be asked about: if it
    refuses some together they are asked about by halves, so that one spoils no other."""
    known: dict[DID, KnownFile] = {}
    refused: dict[DID, InjectError] = {}

    def look_up(some: Sequence[DID]) -> None:
        known.update(catalogue.look_up(some))

    divided(dids, look_up, refused.__setitem__)
    return known, refused
