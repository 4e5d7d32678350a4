"""Trying a storage out with a small file of our own, that is never in the catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from rucio_inject.doctor.findings import Finding, Verdict, bad
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    WORTH_ANOTHER_WAY,
    ChecksumMismatch,
    InjectError,
    PlaceTaken,
    StorageRefused,
)
from rucio_inject.ports import Clock, Storage, Stored

PREFIX = "rucio-inject-doctor"
"""What our files are called at their beginning: nobody else's are."""
# Nobody writes a small file for so long: what is older is of a doctor that was killed.
OLD = timedelta(hours=1)
CHECK = "storage"


@dataclass(frozen=True, slots=True)
class Route:
    """A protocol of an RSE: where it leads, and the storage by it alone, as far as it serves."""

    name: str
    storage: Storage


class Probe:
    """Writes, reads, asks for the checksum of, and removes a file at an RSE, by each of its
    protocols.

    Its name is always the same for one account on one machine, so that what a killed doctor left is
    found by the next one also where a storage cannot be listed.
    """

    def __init__(
        self,
        routes: Callable[[str], Sequence[Route]],
        clock: Clock,
        scope: str,
        who: str,
        work: Path,
    ) -> None:
        """`routes` are those of an RSE; `who` names account and machine; `work` is a folder for the
        file to write."""
        mark = hashlib.sha256(who.encode()).hexdigest()[:12]
        self._did = DID(scope, f"{PREFIX}.{mark}")
        self._routes = routes
        self._clock = clock
        self._work = work

    def run(self, rse: str) -> Iterator[Finding]:
        """Try an RSE out."""
        try:
            routes = self._routes(rse)
        except InjectError as error:
            yield bad(CHECK, rse, error)
            return
        found, cleaned = [], False
        for route in routes:
            try:
                left = self._clean(route.storage, rse, whole=not cleaned)
                cleaned = True
                if left:
                    told = f"{left} of an earlier doctor were removed"
                    yield Finding(CHECK, rse, Verdict.GOOD, told)
                found.append(self._tried(route, rse))
            except InjectError as error:
                found.append(_bad(route, rse, error))
        works = any(one.verdict is Verdict.GOOD for one in found)
        yield from (_replaced(one) if works else one for one in found)

    def _clean(self, storage: Storage, rse: str, *, whole: bool) -> int:
        """Remove what doctors that were killed left; how many files that were. `whole`: look for
        halves, too, and for what others left. What is of another account or machine may be of one
        that is at work."""
        removed = 0
        pfn = storage.taken(rse, self._did)
        if pfn is not None:
            storage.remove(rse, pfn)
            removed += 1
        listing = storage.listing(rse, self._did.scope) if whole else None
        for file in listing if listing is not None else ():
            name = file.pfn.rpartition("/")[2]
            old = file.modified is not None and self._clock.now() - file.modified > OLD
            if name.startswith(self._did.name) or (old and name.startswith(PREFIX)):
                storage.remove(rse, file.pfn)
                removed += 1
        return removed

    def _tried(self, route: Route, rse: str) -> Finding:
        content, storage = self._work / PREFIX, route.storage
        content.write_bytes(f"{self._did} {self._clock.now().isoformat()}\n".encode())
        with ExitStack() as undo:
            stored = storage.put(rse, content, self._did)
            undo.callback(storage.remove, rse, stored.pfn)
            self._compare(storage, rse, stored)
        if storage.exists(rse, stored.pfn):
            raise StorageRefused(f"{stored.pfn} is still there after it was removed")
        told = f"over {route.name}: written, read, checked and removed"
        return Finding(CHECK, rse, Verdict.GOOD, told)

    def _compare(self, storage: Storage, rse: str, stored: Stored) -> None:
        read = storage.measure(rse, stored.pfn)
        if wrong := stored.measure.differences(read):
            raise ChecksumMismatch(
                f"{stored.pfn} came back with other bytes ({', '.join(wrong)})",
                hint="the storage is faulty: tell those who look after it",
            )
        told = storage.checksum(rse, stored.pfn)
        if (told.size, told.adler32) != (stored.measure.size, stored.measure.adler32):
            raise ChecksumMismatch(
                f"{rse} says adler32 {told.adler32} of {told.size} B, which is not what was "
                f"written ({stored.measure.adler32} of {stored.measure.size} B)",
                hint="its checksums cannot be relied on: tell those who look after it",
            )


def _bad(route: Route, rse: str, error: InjectError) -> Finding:
    if isinstance(error, PlaceTaken):
        hint = "is another doctor at work? try again when it has ended"
        error = StorageRefused(error.message, hint=hint)
    found = bad(CHECK, rse, error)
    return replace(found, told=f"over {route.name}: {found.told}")


def _replaced(found: Finding) -> Finding:
    """What is not reached is no more than a warning where another protocol works: a run takes
    that."""
    if not isinstance(found.error, WORTH_ANOTHER_WAY):
        return found
    told = f"{found.told.rstrip('.')}; a run goes by the RSE's other protocol"
    return replace(found, verdict=Verdict.WARNING, told=told, error=None)
