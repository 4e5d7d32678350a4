"""The storages of an in-memory lake."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    DiskFull,
    InjectError,
    PlaceTaken,
    ReplicaMissing,
    SourceChanged,
    SourceUnreadable,
    StorageRefused,
    StorageUnavailable,
)
from rucio_inject.domain.names.placement import GENERIC_NAME
from rucio_inject.domain.usage import Usage, counted
from rucio_inject.ports import Arrived, Porters, Stored, StoredFile
from rucio_inject.testing.lake_values import LakeRSE
from rucio_inject.testing.memory_daemons import measure_bytes, pfn_of
from rucio_inject.testing.memory_lake import MemoryLake

FIRST = datetime(2020, 1, 1, tzinfo=UTC)
"""When a file was written to, where a test does not say."""
_PARTIAL = re.compile(r"(.+)\.[0-9a-f]{12}\.rucio\.upload")


class MemoryStorage:
    """Implements `ports.Storage` on a `MemoryLake`."""

    def __init__(self, lake: MemoryLake, names: re.Pattern[str] = GENERIC_NAME) -> None:
        """`names` are those that the lake takes for DIDs."""
        self._lake = lake
        self._names = names
        self.modified: dict[str, datetime] = {}
        """When files were written to last, by their PFNs, as far as a test says."""

    def taken(self, rse: str, did: DID) -> str | None:
        """See the port."""
        with self._lake.call("taken"):
            pfn = pfn_of(rse, did)
            return (
                pfn if pfn in self._reached(rse, f"cannot look for {did} at {rse}").bytes else None
            )

    def put(self, rse: str, path: Path, did: DID) -> Stored:
        """See the port."""
        doing = f"cannot store {did} at {rse}"
        with self._lake.call("put"):
            content = _source(path)
            storage = self._reached(rse, doing)
            if storage.blocked:
                raise StorageUnavailable(f"{doing}: the RSE is blocked for writing")
            if storage.refuses_writes:
                raise StorageRefused(f"{doing}: no space left on device")
            pfn = pfn_of(rse, did)
            if pfn in storage.bytes:
                raise PlaceTaken(f"{doing}: something lies at {pfn} already", pfn=pfn)
            storage.bytes[pfn] = content
            return Stored(pfn, measure_bytes(content))

    def porters(self, rse: str, most: int) -> Porters | None:
        """See the port."""
        del most
        return _MemoryPorters(self, rse)

    def get(self, rse: str, pfn: str, path: Path) -> Measure:
        """See the port."""
        with self._lake.call("get"):
            content = self._content(rse, pfn)
            try:
                path.write_bytes(content)
            except OSError as error:
                path.unlink(missing_ok=True)
                kind = DiskFull if error.errno == errno.ENOSPC else StorageRefused
                raise kind(f"cannot write {path}: {error.strerror}") from error
            return measure_bytes(content)

    def measure(self, rse: str, pfn: str) -> Measure:
        """See the port."""
        with self._lake.call("measure"):
            return measure_bytes(self._content(rse, pfn))

    def checksum(self, rse: str, pfn: str) -> StoredFile:
        """See the port."""
        with self._lake.call("checksum"):
            measure = measure_bytes(self._content(rse, pfn))
            return StoredFile(pfn, measure.size, measure.adler32)

    def _content(self, rse: str, pfn: str) -> bytes:
        doing = f"cannot read {pfn} at {rse}"
        content = self._reached(rse, doing).bytes.get(pfn)
        if content is None:
            raise ReplicaMissing(f"{doing}: it is not there")
        return content

    def exists(self, rse: str, pfn: str) -> bool:
        """See the port."""
        with self._lake.call("exists"):
            return pfn in self._reached(rse, f"cannot look for {pfn} at {rse}").bytes

    def stat(self, rse: str, pfn: str) -> StoredFile | None:
        """See the port."""
        with self._lake.call("stat"):
            content = self._reached(rse, f"cannot look at {pfn} at {rse}").bytes.get(pfn)
            return None if content is None else StoredFile(pfn, len(content))

    def listing(self, rse: str, scope: str) -> Iterator[StoredFile] | None:
        """See the port."""
        with self._lake.call("listing"):
            storage = self._reached(rse, f"cannot list {scope} at {rse}")
            if rse in self._lake.unlistable:
                return None
            sizes = {pfn: len(content) for pfn, content in storage.bytes.items()}
        place = pfn_of(rse, DID(scope, ""))
        return _listed(place, scope, sizes, self.modified, self._names)

    def files_below(self, rse: str, folder: str) -> Iterator[StoredFile] | None:
        """See the port."""
        with self._lake.call("files_below"):
            storage = self._reached(rse, f"cannot list {folder} at {rse}")
            if rse in self._lake.unlistable:
                return None
            place = f"memory://{rse}/" + (folder.strip("/") + "/" if folder.strip("/") else "")
            inside = {
                pfn: len(held) for pfn, held in storage.bytes.items() if pfn.startswith(place)
            }
            if not inside and folder.strip("/"):
                raise ReplicaMissing(f"there is no folder {folder} at {rse}")
        return (
            StoredFile(pfn, size, modified=self.modified.get(pfn, FIRST))
            for pfn, size in inside.items()
            if not _PARTIAL.fullmatch(pfn)
        )

    def remove(self, rse: str, pfn: str) -> None:
        """See the port."""
        doing = f"cannot remove {pfn} at {rse}"
        with self._lake.call("remove"):
            storage = self._reached(rse, doing)
            if pfn in storage.bytes and storage.refuses_deletion:
                raise StorageRefused(f"{doing}: it is still there")
            storage.bytes.pop(pfn, None)

    def count(self, rse: str, breathe: Callable[[], None] | None = None) -> Usage | None:
        """See the port. Not a call that a crash counts: a thread of its own makes it."""
        with self._lake.lock:
            held = self._reached(rse, f"cannot count {rse}").bytes
            sizes = [len(content) for content in held.values()]
        return counted(sizes, breathe)

    def _reached(self, rse: str, doing: str) -> LakeRSE:
        storage = self._lake.rse(rse)
        if storage.offline:
            raise StorageUnavailable(f"{doing}: it does not answer")
        return storage


class _MemoryPorters:
    """Implements `ports.Porters`."""

    def __init__(self, storage: MemoryStorage, rse: str) -> None:
        self._storage = storage
        self._rse = rse
        self._closed = False

    def carry(self, files: Sequence[tuple[Path, DID]]) -> Sequence[Arrived | None]:
        """See the port."""
        return [None if self._closed else self._carried(path, did) for path, did in files]

    def _carried(self, path: Path, did: DID) -> Arrived | None:
        try:
            stored = self._storage.put(self._rse, path, did)
            return Arrived(stored, self._storage.checksum(self._rse, stored.pfn))
        except InjectError:
            return None

    def close(self) -> None:
        """See the port."""
        self._closed = True


def _source(path: Path) -> bytes:
    try:
        before, content, after = path.stat(), path.read_bytes(), path.stat()
    except OSError as error:
        raise SourceUnreadable(f"cannot read {path}: {error.strerror}") from error
    same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    if not same or len(content) != after.st_size:
        raise SourceChanged(f"{path} changed while it was read")
    return content


def _listed(
    place: str,
    scope: str,
    sizes: Mapping[str, int],
    modified: Mapping[str, datetime],
    names: re.Pattern[str],
) -> Iterator[StoredFile]:
    for pfn, size in sizes.items():
        if pfn.startswith(place):
            name = pfn.removeprefix(place)
            ours = _PARTIAL.fullmatch(name)
            did = DID(scope, ours[1] if ours else name)
            fits = names.fullmatch(did.name) is not None
            yield StoredFile(
                pfn,
                size,
                did=did if fits else None,
                partial=ours is not None and fits,
                modified=modified.get(pfn),
            )
