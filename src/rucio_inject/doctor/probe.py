"""Trying a storage out with a small file of our own, that is never in the catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from rucio_inject.doctor.findings import Finding, Verdict, bad
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    ChecksumMismatch,
    InjectError,
    PlaceTaken,
    ReplicaMissing,
    StorageRefused,
)
from rucio_inject.ports import Clock, Storage, Stored

PREFIX = "rucio-inject-doctor"
"""What our files are called at their beginning: nobody else's are."""
# Nobody writes a small file for so long: what is older is of a doctor that was killed.
OLD = timedelta(hours=1)
CHECK = "storage"


class Probe:
    """Writes, reads, asks for the checksum of, and removes a file at an RSE.

    Its name is always the same for one account on one machine, so that what a killed doctor left is
    found by the next one also where a storage cannot be listed.
    """

    def __init__(self, storage: Storage, clock: Clock, scope: str, who: str, work: Path) -> None:
        """`who` names account and machine; `work` is a folder for the file to write."""
        mark = hashlib.sha256(who.encode()).hexdigest()[:12]
        self._did = DID(scope, f"{PREFIX}.{mark}")
        self._storage = storage
        self._clock = clock
        self._work = work

    def run(self, rse: str) -> Iterator[Finding]:
        """Try an RSE out."""
        try:
            left = self._clean(rse)
            if left:
                yield Finding(CHECK, rse, Verdict.GOOD, f"{left} of an earlier doctor were removed")
            yield self._tried(rse)
        except PlaceTaken as error:
            told = StorageRefused(
                f"{error.message}", hint="is another doctor at work? try again when it has ended"
            )
            yield bad(CHECK, rse, told)
        except InjectError as error:
            yield bad(CHECK, rse, error)

    def _clean(self, rse: str) -> int:
        """Remove what doctors that were killed left, halves too; how many files that were. What is
        of another account or machine may be of one that is at work."""
        removed = 0
        pfn = self._storage.taken(rse, self._did)
        if pfn is not None:
            self._remove(rse, pfn)
            removed += 1
        listing = self._storage.listing(rse, self._did.scope)
        for file in listing if listing is not None else ():
            name = file.pfn.rpartition("/")[2]
            old = file.modified is not None and self._clock.now() - file.modified > OLD
            if name.startswith(self._did.name) or (old and name.startswith(PREFIX)):
                self._remove(rse, file.pfn)
                removed += 1
        return removed

    def _remove(self, rse: str, pfn: str) -> None:
        try:
            self._storage.remove(rse, pfn)
        except ReplicaMissing:
            return  # another doctor was quicker

    def _tried(self, rse: str) -> Finding:
        content = self._work / PREFIX
        content.write_bytes(f"{self._did} {self._clock.now().isoformat()}\n".encode())
        with ExitStack() as undo:
            stored = self._storage.put(rse, content, self._did)
            undo.callback(self._remove, rse, stored.pfn)
            self._compare(rse, stored)
        if self._storage.exists(rse, stored.pfn):
            raise StorageRefused(f"{stored.pfn} is still there after it was removed")
        told = f"written, read, checked and removed: {stored.pfn}"
        return Finding(CHECK, rse, Verdict.GOOD, told)

    def _compare(self, rse: str, stored: Stored) -> None:
        read = self._storage.measure(rse, stored.pfn)
        if wrong := stored.measure.differences(read):
            raise ChecksumMismatch(
                f"{stored.pfn} came back with other bytes ({', '.join(wrong)})",
                hint="the storage is faulty: tell those who look after it",
            )
        told = self._storage.checksum(rse, stored.pfn)
        if (told.size, told.adler32) != (stored.measure.size, stored.measure.adler32):
            raise ChecksumMismatch(
                f"{rse} says adler32 {told.adler32} of {told.size} B, which is not what was "
                f"written ({stored.measure.adler32} of {stored.measure.size} B)",
                hint="its checksums cannot be relied on: tell those who look after it",
            )
