"""Storages behind RSEs, through the protocol classes that Rucio itself uses for them."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from rucio.rse.translation import RSEDeterministicTranslation

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    DiskFull,
    PlaceTaken,
    ReplicaMissing,
    StorageError,
    StorageRefused,
    StorageUnavailable,
)
from rucio_inject.domain.usage import Usage
from rucio_inject.ports import StoredFile
from rucio_inject.rucio import answers, protocols
from rucio_inject.rucio.errors import catalogue_errors, storage_errors
from rucio_inject.rucio.session import Session

# The official client's suffix, at the end, so that a site's cleaning rules know it.
PARTIAL = ".rucio.upload"
# What is between a file's name and that suffix tells our partial files from the client's.
_OUR_PARTIAL = re.compile(r"(.+)\.[0-9a-f]{12}" + re.escape(PARTIAL))
# Where a DID named x lies below the place of its scope.
_PLACES = re.compile(r"(.+?)(/[0-9a-f]{2}/[0-9a-f]{2})?/x")
# The scheme of storages that are folders of this machine.
POSIX = "file"
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
                    self._settings[rse] = protocols.settings(client.get_rse(rse))
            return self._settings[rse]

    @contextmanager
    def _protocol(
        self, doing: str, rse: str, operation: str, scheme: str | None = None
    ) -> Iterator[Any]:
        with storage_errors(doing):
            protocol = protocols.make(self._rse(rse), operation, scheme, doing)
            protocol.connect()
            try:
                yield protocol
            finally:
                protocol.close()

    def taken(self, rse: str, did: DID) -> str | None:
        """See the port."""
        doing = f"cannot look for {did} at {rse}"
        with self._protocol(doing, rse, "write") as protocol:
            pfn = self._new_pfn(doing, rse, did, protocol)
            return pfn if self._shows(doing, rse, pfn, protocol) else None

    def put(self, rse: str, path: Path, did: DID, *, overwrite: bool) -> str:
        """See the port."""
        doing = f"cannot store {did} at {rse}"
        if not path.is_file():
            raise StorageRefused(f"{doing}: there is no file {path}")
        if not self._rse(rse).get("availability_write", True):
            raise StorageUnavailable(
                f"{doing}: the RSE is blocked for writing",
                hint="its site has taken it out for a while; run the same command again later",
            )
        with self._protocol(doing, rse, "write") as protocol:
            pfn = self._new_pfn(doing, rse, did, protocol)
            self._look(doing, rse, pfn, protocol, overwrite=overwrite)
            # Of this try alone: somebody may be storing the same DID.
            partial = f"{pfn}.{uuid4().hex[:12]}{PARTIAL}"
            with ExitStack() as undo:
                undo.callback(_discard, doing, protocol, partial)
                _write(protocol, path, partial)
                # It took its time, and a rename may replace what is there: look again.
                there = self._look(doing, rse, pfn, protocol, overwrite=overwrite)
                if there and urlsplit(pfn).scheme != POSIX:
                    # A folder's rename replaces in one step; others may refuse to.
                    protocol.delete(pfn)
                protocol.rename(partial, pfn)
                undo.pop_all()
            if not self._shows(doing, rse, pfn, protocol):
                raise StorageRefused(f"{doing}: it took the file and does not show it at {pfn}")
        return pfn

    def _new_pfn(self, doing: str, rse: str, did: DID, protocol: Any) -> str:
        settings = self._rse(rse)
        if not settings["deterministic"]:
            raise StorageRefused(
                f"{doing}: the RSE is not deterministic, so Rucio has no name for a new file there",
                hint="upload to a deterministic RSE; rules may bring the files to this one",
            )
        if RSEDeterministicTranslation.supports(settings.get("lfn2pfn_algorithm")):
            named = protocol.lfns2pfns({"scope": did.scope, "name": did.name})
        else:
            # Rucio's protocol would make a client of its own to ask, without our sign-in.
            client, scheme = self._session.client(), protocol.attributes["scheme"]
            with catalogue_errors(f"cannot ask for the name of {did} at {rse}"):
                named = answers.mapping(client.lfns2pfns(rse, [str(did)], scheme=scheme))
        for pfn in named.values():
            return str(pfn)
        raise StorageRefused(f"{doing}: Rucio has no name for it there")

    def _look(self, doing: str, rse: str, pfn: str, protocol: Any, *, overwrite: bool) -> bool:
        """Whether something lies there; PlaceTaken if so and it must not be overwritten."""
        there = self._shows(doing, rse, pfn, protocol)
        if there and not overwrite:
            raise PlaceTaken(
                f"{doing}: something lies at {pfn} already",
                pfn=pfn,
                hint="is it a replica that the catalogue does not know? look at it, and remove it "
                "if nobody needs it",
            )
        return there

    def get(self, rse: str, pfn: str, path: Path) -> None:
        """See the port."""
        doing = f"cannot read {pfn} at {rse}"
        scheme = urlsplit(pfn).scheme
        try:
            with self._protocol(doing, rse, "read", scheme) as protocol:
                protocol.get(pfn, str(path))
        except StorageError:
            # Rucio's protocols put it to the storage that the local disk is full.
            if path.parent.is_dir() and shutil.disk_usage(path.parent).free < NO_ROOM:
                raise DiskFull(
                    f"{doing}: the disk of {path.parent} is full",
                    hint="make room, or name another output folder; then run the command again",
                ) from None
            raise

    def exists(self, rse: str, pfn: str) -> bool:
        """See the port."""
        doing, scheme = f"cannot look for {pfn} at {rse}", urlsplit(pfn).scheme
        if scheme == POSIX:
            return self._posix_exists(doing, rse, pfn)
        with self._protocol(doing, rse, "read", scheme) as protocol:
            return bool(protocol.exists(pfn))

    def _shows(self, doing: str, rse: str, pfn: str, protocol: Any) -> bool:
        """Whether a storage shows a file, asked through a protocol that is connected."""
        if urlsplit(pfn).scheme == POSIX:
            return self._posix_exists(doing, rse, pfn)
        return bool(protocol.exists(pfn))

    def _posix_exists(self, doing: str, rse: str, pfn: str) -> bool:
        return self._posix_size(doing, rse, pfn) is not None

    def _posix_size(self, doing: str, rse: str, pfn: str) -> int | None:
        """Rucio's posix protocol says "not there" for whatever it may not look into."""
        for protocol in self._posix_protocols(rse):
            if not Path(protocol["prefix"]).is_dir():
                raise StorageUnavailable(
                    f"{doing}: its folder {protocol['prefix']} is not there",
                    hint="is the storage mounted on this machine?",
                )
        try:
            found = os.stat(urlsplit(pfn).path)  # noqa: PTH116
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageRefused(f"{doing}: {error.strerror}") from error
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def stat(self, rse: str, pfn: str) -> StoredFile | None:
        """See the port."""
        doing, scheme = f"cannot look at {pfn} at {rse}", urlsplit(pfn).scheme
        if scheme == POSIX:
            # Rucio's posix protocol would read the file for its checksum.
            size = self._posix_size(doing, rse, pfn)
            return None if size is None else StoredFile(pfn, size)
        try:
            with self._protocol(doing, rse, "read", scheme) as protocol:
                return _told(pfn, protocol) if protocol.exists(pfn) else None
        except ReplicaMissing:
            # It went between two questions.
            return None
        except ValueError as error:
            raise StorageRefused(f"{doing}: the answer makes no sense ({error})") from error

    def listing(self, rse: str, scope: str) -> Iterator[StoredFile] | None:
        """See the port."""
        doing, settings = f"cannot list {scope} at {rse}", self._rse(rse)
        known = RSEDeterministicTranslation.supports(settings.get("lfn2pfn_algorithm"))
        if not (self._posix_protocols(rse) and settings["deterministic"] and known):
            return None
        protocol = protocols.make(settings, "write", POSIX, doing)
        place = _PLACES.fullmatch(_pfn(protocol, DID(scope, "x")))
        if place is None:
            return None
        # A storage that is not mounted is not an empty one.
        self._posix_size(doing, rse, place[1])
        return _listed(doing, protocol, scope, place[1], 2 if place[2] else 0)

    def remove(self, rse: str, pfn: str) -> None:
        """See the port."""
        doing = f"cannot remove {pfn} at {rse}"
        if not self.exists(rse, pfn):
            raise ReplicaMissing(f"{doing}: it is not there")
        with self._protocol(doing, rse, "delete", urlsplit(pfn).scheme) as protocol:
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
        try:
            for prefix in prefixes:
                for entry in _walk(prefix):
                    files += 1
                    size += entry
        except OSError:
            return None
        return Usage(files, size)

    def _posix_protocols(self, rse: str) -> list[Mapping[str, Any]]:
        return [p for p in self._rse(rse)["protocols"] if p["scheme"] == POSIX]


def _write(protocol: Any, path: Path, partial: str) -> None:
    place = urlsplit(partial)
    if place.scheme == POSIX:
        # Rucio's posix protocol fails if another thread makes the same folder.
        Path(place.path).parent.mkdir(parents=True, exist_ok=True)
    try:
        protocol.put(str(path), partial)
    except KeyError as error:
        # When a storage refuses, Rucio's posix protocol trips over its own settings.
        if isinstance(cause := error.__context__, OSError):
            raise OSError(cause.errno, cause.strerror) from error
        raise


def _discard(doing: str, protocol: Any, partial: str) -> None:
    """Remove what a failed try left, if that can be done: the first error is the one to tell."""
    with suppress(StorageError), storage_errors(doing):
        protocol.delete(partial)


def _walk(folder: Path) -> Iterator[int]:
    """Sizes of the files below a folder."""
    return (size for _, size in _walk_files(str(folder)))


def _walk_files(folder: str) -> Iterator[tuple[str, int]]:
    """Paths and sizes of the files below a folder; what goes away meanwhile does not count.

    OSError if a part of it cannot be looked into: a count without it would be wrong.
    """
    for place, _, names in os.walk(folder, onerror=_unless_gone):
        for name in names:
            path = f"{place}/{name}"
            try:
                yield path, os.lstat(path).st_size
            except FileNotFoundError:
                continue


def _told(pfn: str, protocol: Any) -> StoredFile:
    """What a protocol tells of a file that is there; some cannot tell more."""
    try:
        return answers.stored_file(pfn, protocol.stat(pfn))
    except NotImplementedError:
        return StoredFile(pfn)


def _pfn(protocol: Any, did: DID) -> str:
    (pfn,) = protocol.lfns2pfns({"scope": did.scope, "name": did.name}).values()
    return str(pfn)


def _listed(
    doing: str, protocol: Any, scope: str, folder_pfn: str, levels: int
) -> Iterator[StoredFile]:
    """Files below the place of a scope; `levels` of folders are between it and a DID's name."""
    folder = urlsplit(folder_pfn).path
    with storage_errors(doing):
        for path, size in _walk_files(folder):
            inside = path.removeprefix(folder)
            name = inside[1:].split("/", levels)[-1]
            pfn = folder_pfn + inside
            ours = _OUR_PARTIAL.fullmatch(name)
            did = DID(scope, ours[1] if ours else name)
            suffix = name.removeprefix(did.name)
            known = did if _pfn(protocol, did) + suffix == pfn else None
            partial = ours is not None and known is not None
            yield StoredFile(pfn, size, did=known, partial=partial)


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
