"""Storages behind RSEs, through the protocol classes that Rucio itself uses for them."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import unquote, urlsplit

from rucio.rse import rsemanager

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    DiskFull,
    ReplicaMissing,
    StorageError,
    StorageRefused,
    StorageUnavailable,
)
from rucio_inject.domain.usage import Usage
from rucio_inject.rucio.errors import catalogue_errors, storage_errors
from rucio_inject.rucio.session import Session

# The official client's suffix, so that a site's cleaning rules know it.
PARTIAL = ".rucio.upload"
# A disk with less than this, in bytes, is full.
NO_ROOM = 1 << 20


class RucioStorage:
    """Implements `ports.Storage` with the protocols that each RSE has in the catalogue."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._settings: dict[str, dict[str, Any]] = {}
        self._lock = Lock()

    def _rse(self, rse: str) -> dict[str, Any]:
        with self._lock:
            if rse not in self._settings:
                client = self._session.client()
                with catalogue_errors(f"cannot read the protocols of RSE {rse}"):
                    self._settings[rse] = dict(client.get_rse(rse))
            return self._settings[rse]

    @contextmanager
    def _protocol(self, rse: str, operation: str, scheme: str | None = None) -> Iterator[Any]:
        protocol = rsemanager.create_protocol(self._rse(rse), operation, scheme=scheme)
        protocol.connect()
        try:
            yield protocol
        finally:
            protocol.close()

    def put(self, rse: str, path: Path, did: DID) -> str:
        """See the port."""
        doing = f"cannot store {did} at {rse}"
        with storage_errors(doing), self._protocol(rse, "write") as protocol:
            pfn = str(
                next(iter(protocol.lfns2pfns({"scope": did.scope, "name": did.name}).values()))
            )
            partial = pfn + PARTIAL
            for left_over in (partial, pfn):
                if protocol.exists(left_over):
                    protocol.delete(left_over)
            protocol.put(str(path), partial)
            protocol.rename(partial, pfn)
            if not protocol.exists(pfn):
                raise StorageRefused(f"{doing}: it took the file and does not show it at {pfn}")
        return pfn

    def get(self, rse: str, pfn: str, path: Path) -> None:
        """See the port."""
        doing = f"cannot read {pfn} at {rse}"
        scheme = urlsplit(pfn).scheme
        try:
            with storage_errors(doing), self._protocol(rse, "read", scheme) as protocol:
                protocol.get(pfn, str(path))
        except StorageError:
            # Rucio's protocols put it to the storage that the local disk is full.
            if shutil.disk_usage(path.parent).free < NO_ROOM:
                raise DiskFull(
                    f"{doing}: the disk of {path.parent} is full",
                    hint="make room, or name another output folder; then run the command again",
                ) from None
            raise

    def exists(self, rse: str, pfn: str) -> bool:
        """See the port."""
        doing = f"cannot look for {pfn} at {rse}"
        if urlsplit(pfn).scheme == "file":
            # Rucio's posix protocol says "not there" for whatever it may not look into.
            return self._posix_exists(rse, pfn, doing)
        with storage_errors(doing), self._protocol(rse, "read", urlsplit(pfn).scheme) as protocol:
            return bool(protocol.exists(pfn))

    def _posix_exists(self, rse: str, pfn: str, doing: str) -> bool:
        for protocol in self._posix_protocols(rse):
            if not Path(protocol["prefix"]).is_dir():
                raise StorageUnavailable(
                    f"{doing}: its folder {protocol['prefix']} is not there",
                    hint="is the storage mounted on this machine?",
                )
        try:
            return stat.S_ISREG(os.stat(unquote(urlsplit(pfn).path)).st_mode)  # noqa: PTH116
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageRefused(f"{doing}: {error.strerror}") from error

    def remove(self, rse: str, pfn: str) -> None:
        """See the port."""
        doing = f"cannot remove {pfn} at {rse}"
        if not self.exists(rse, pfn):
            raise ReplicaMissing(f"{doing}: it is not there")
        with storage_errors(doing), self._protocol(rse, "delete", urlsplit(pfn).scheme) as protocol:
            protocol.delete(pfn)
        # Rucio's posix protocol says nothing when it could not delete.
        if self.exists(rse, pfn):
            raise StorageRefused(f"{doing}: it is still there")

    def count(self, rse: str) -> Usage | None:
        """See the port."""
        prefixes = {Path(protocol["prefix"]) for protocol in self._posix_protocols(rse)}
        if not prefixes or not all(prefix.is_dir() for prefix in prefixes):
            return None
        files = size = 0
        for prefix in prefixes:
            for entry in _walk(prefix):
                files += 1
                size += entry
        return Usage(files, size)

    def _posix_protocols(self, rse: str) -> list[Mapping[str, Any]]:
        return [p for p in self._rse(rse)["protocols"] if p["scheme"] == "file"]


def _walk(folder: Path) -> Iterator[int]:
    """Sizes of the files below a folder; what goes away meanwhile does not count."""
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.lstat(f"{place}/{name}").st_size
            except FileNotFoundError:
                continue
