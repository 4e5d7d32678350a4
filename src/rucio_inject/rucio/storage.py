"""Storages behind RSEs, through the protocols that Rucio itself uses for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from rucio.rse.translation import RSEDeterministicTranslation

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    PlaceTaken,
    ReplicaMissing,
    StorageRefused,
    StorageUnavailable,
)
from rucio_inject.domain.usage import Usage
from rucio_inject.measuring import source_stat
from rucio_inject.ports import Stored, StoredFile
from rucio_inject.rucio import answers, protocols
from rucio_inject.rucio.errors import catalogue_errors, storage_errors
from rucio_inject.rucio.listing import (
    listed,
    listed_below,
    partial_name,
    pfn_below,
    scope_place,
    walk,
)
from rucio_inject.rucio.posix import POSIX, PosixAccess, is_posix, size_of
from rucio_inject.rucio.remote import RemoteAccess
from rucio_inject.rucio.session import Session

Access: TypeAlias = PosixAccess | RemoteAccess


@dataclass(frozen=True, slots=True)
class _RSE:
    """An RSE's settings, and what follows from them."""

    settings: Mapping[str, Any]
    # Of its posix protocols.
    prefixes: tuple[str, ...]
    # For an operation, and the scheme asked for: the scheme of the protocol that Rucio has chosen.
    schemes: dict[tuple[str, str | None], str] = field(default_factory=dict)
    # For the same, where that is posix: Rucio's protocol, which names files.
    posix: dict[tuple[str, str | None], Any] = field(default_factory=dict)


class RucioStorage:
    """Implements `ports.Storage` with the protocols that each RSE has in the catalogue.

    Where that is a folder of this machine, bytes are read once and by ourselves.
    """

    def __init__(
        self, session: Session, *, folder: Path | None = None, durable: bool = False
    ) -> None:
        """`folder` takes replicas that are read and not kept, if they are not on this machine;
        None is the system's for temporary files.

        `durable`: what is written to a folder of this machine survives a power cut as soon as
        `put` returns. It waits for the disk then, for each file.
        """
        self._session = session
        self._folder = folder
        self._durable = durable
        self._rses: dict[str, _RSE] = {}
        self._lock = Lock()

    def _rse(self, rse: str) -> _RSE:
        with self._lock:
            if rse not in self._rses:
                client = self._session.client()
                with catalogue_errors(f"cannot read the protocols of RSE {rse}"):
                    settings = protocols.settings(client.get_rse(rse))
                prefixes = [p["prefix"] for p in settings["protocols"] if p["scheme"] == POSIX]
                self._rses[rse] = _RSE(settings, tuple(prefixes))
            return self._rses[rse]

    @contextmanager
    def _access(
        self, doing: str, rse: str, operation: str, scheme: str | None = None
    ) -> Iterator[Access]:
        known, wanted = self._rse(rse), (operation, scheme)
        with storage_errors(doing):
            protocol = known.posix.get(wanted)
            if protocol is None:
                chosen = known.schemes.get(wanted, scheme)
                protocol = protocols.make(known.settings, operation, chosen, doing)
                known.schemes[wanted] = protocol.attributes["scheme"]
            if is_posix(protocol):
                known.posix[wanted] = protocol
                yield PosixAccess(doing, protocol, known.prefixes, self._durable)
                return
            protocol.connect()
            try:
                yield RemoteAccess(doing, protocol, known.prefixes, self._folder)
            finally:
                protocol.close()

    def taken(self, rse: str, did: DID) -> str | None:
        """See the port."""
        doing = f"cannot look for {did} at {rse}"
        with self._access(doing, rse, "write") as access:
            pfn = self._new_pfn(doing, rse, did, access.protocol)
            return pfn if access.shows(pfn) else None

    def put(self, rse: str, path: Path, did: DID) -> Stored:
        """See the port."""
        doing = f"cannot store {did} at {rse}"
        source = source_stat(path)
        if not self._rse(rse).settings.get("availability_write", True):
            raise StorageUnavailable(
                f"{doing}: the RSE is blocked for writing",
                hint="its site has taken it out for a while; run the same command again later",
            )
        with self._access(doing, rse, "write") as access:
            pfn = self._new_pfn(doing, rse, did, access.protocol)
            _refuse_taken(access, pfn)
            partial = partial_name(pfn)
            with ExitStack() as undo:
                undo.callback(access.discard, partial)
                measure = access.write(path, source, partial)
                # It took its time, and a rename may replace what is there: look again.
                _refuse_taken(access, pfn)
                try:
                    access.rename(partial, pfn)
                except FileExistsError as error:
                    raise _taken(access, pfn) from error
                undo.pop_all()
            if not access.shows(pfn):
                raise StorageRefused(f"{doing}: it took the file and does not show it at {pfn}")
        return Stored(pfn, measure)

    def _new_pfn(self, doing: str, rse: str, did: DID, protocol: Any) -> str:
        settings = self._rse(rse).settings
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

    def get(self, rse: str, pfn: str, path: Path) -> Measure:
        """See the port."""
        with self._reading(f"cannot read {pfn} at {rse}", rse, pfn) as access:
            return access.get(pfn, path)

    def measure(self, rse: str, pfn: str) -> Measure:
        """See the port."""
        with self._reading(f"cannot read {pfn} at {rse}", rse, pfn) as access:
            return access.measure(pfn)

    def checksum(self, rse: str, pfn: str) -> StoredFile:
        """See the port."""
        with self._reading(f"cannot read {pfn} at {rse}", rse, pfn) as access:
            return access.checksum(pfn)

    def exists(self, rse: str, pfn: str) -> bool:
        """See the port."""
        doing = f"cannot look for {pfn} at {rse}"
        if urlsplit(pfn).scheme == POSIX:
            return size_of(doing, self._rse(rse).prefixes, pfn) is not None
        with self._reading(doing, rse, pfn) as access:
            return access.shows(pfn)

    def stat(self, rse: str, pfn: str) -> StoredFile | None:
        """See the port."""
        doing = f"cannot look at {pfn} at {rse}"
        if urlsplit(pfn).scheme == POSIX:
            # Rucio's posix protocol would read the file for its checksum.
            size = size_of(doing, self._rse(rse).prefixes, pfn)
            return None if size is None else StoredFile(pfn, size)
        try:
            with self._reading(doing, rse, pfn) as access:
                # Of another scheme than posix.
                assert isinstance(access, RemoteAccess)
                return access.stat(pfn)
        except ReplicaMissing:
            # It went between two questions.
            return None

    def _reading(self, doing: str, rse: str, pfn: str) -> AbstractContextManager[Access]:
        return self._access(doing, rse, "read", urlsplit(pfn).scheme)

    def listing(self, rse: str, scope: str) -> Iterator[StoredFile] | None:
        """See the port."""
        doing, known = f"cannot list {scope} at {rse}", self._rse(rse)
        settings = known.settings
        named = RSEDeterministicTranslation.supports(settings.get("lfn2pfn_algorithm"))
        if not (known.prefixes and settings["deterministic"] and named):
            return None
        protocol = protocols.make(settings, "write", POSIX, doing)
        place = scope_place(protocol, scope)
        if place is None:
            return None
        folder, levels = place
        # A storage that is not mounted is not an empty one.
        size_of(doing, known.prefixes, folder)
        return listed(doing, protocol, scope, folder, levels)

    def files_below(self, rse: str, folder: str) -> Iterator[StoredFile] | None:
        """See the port."""
        doing, known = f"cannot list {folder or 'all'} at {rse}", self._rse(rse)
        if not known.prefixes:
            return None
        protocol = protocols.make(known.settings, "read", POSIX, doing)
        if not is_posix(protocol):
            return None
        place = pfn_below(protocol, folder)
        # A storage that is not mounted is not an empty one.
        size_of(doing, known.prefixes, place)
        return listed_below(doing, place)

    def remove(self, rse: str, pfn: str) -> None:
        """See the port."""
        doing = f"cannot remove {pfn} at {rse}"
        if not self.exists(rse, pfn):
            raise ReplicaMissing(f"{doing}: it is not there")
        with self._access(doing, rse, "delete", urlsplit(pfn).scheme) as access:
            access.protocol.delete(pfn)
        # Rucio's posix protocol says nothing when it could not delete.
        if self.exists(rse, pfn):
            raise StorageRefused(f"{doing}: it is still there")

    def count(self, rse: str) -> Usage | None:
        """See the port."""
        prefixes = {Path(prefix) for prefix in self._rse(rse).prefixes}
        if not prefixes or not all(prefix.is_dir() for prefix in prefixes):
            return None
        files = size = 0
        try:
            for prefix in prefixes:
                for _, held in walk(str(prefix)):
                    files += 1
                    size += held
        except OSError:
            return None
        return Usage(files, size)


def _refuse_taken(access: Access, pfn: str) -> None:
    if access.shows(pfn):
        raise _taken(access, pfn)


def _taken(access: Access, pfn: str) -> PlaceTaken:
    return PlaceTaken(
        f"{access.doing}: something lies at {pfn} already",
        pfn=pfn,
        hint="is it a replica that the catalogue does not know? look at it, and remove it "
        "if nobody needs it",
    )
