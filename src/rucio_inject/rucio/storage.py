"""Storages behind RSEs, through the protocols that Rucio itself uses for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

from rucio.rse.translation import RSEDeterministicTranslation

from rucio_inject.clock import SystemClock
from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    WORTH_ANOTHER_WAY,
    ReplicaMissing,
    SourceUnreadable,
    StorageError,
    StorageRefused,
    StorageUnavailable,
)
from rucio_inject.domain.names import GENERIC_NAME
from rucio_inject.domain.usage import Usage, counted
from rucio_inject.measuring import source_stat
from rucio_inject.ports import Clock, Porters, Stored, StoredFile
from rucio_inject.rucio import answers, protocols
from rucio_inject.rucio.driven import DrivenAccess, walk_below, walk_if_there
from rucio_inject.rucio.drivers.driver import Driver, Entry
from rucio_inject.rucio.errors import catalogue_errors, storage_errors
from rucio_inject.rucio.listing import (
    listed,
    listed_below,
    listed_entries,
    partial_name,
    parts_below,
    pfn_below,
    posix_entries,
    scope_place,
    walk,
)
from rucio_inject.rucio.porter import Errand, Load, inode_of
from rucio_inject.rucio.porters import PosixPorters
from rucio_inject.rucio.posix import POSIX, PosixAccess, size_of
from rucio_inject.rucio.protocols import NoProtocol
from rucio_inject.rucio.remote import RemoteAccess
from rucio_inject.rucio.rses import RSEs
from rucio_inject.rucio.session import Session
from rucio_inject.rucio.uploading import Halves
from rucio_inject.rucio.ways import Way

T = TypeVar("T")
Access: TypeAlias = PosixAccess | RemoteAccess | DrivenAccess


class RucioStorage:
    """Implements `ports.Storage` with the protocols that each RSE has in the catalogue.

    Where that is a folder of this machine, bytes are read once and by ourselves; where there is a
    driver, by that; else by Rucio's own class. When one protocol cannot be reached, or cannot be
    used here, the RSE's next one is tried.
    """

    def __init__(
        self,
        session: Session,
        *,
        folder: Path | None = None,
        durable: bool = False,
        drivers: Mapping[str, Driver] | None = None,
        schemes: Sequence[str] | None = None,
        preferred: str | None = None,
        names: re.Pattern[str] = GENERIC_NAME,
        clock: Clock | None = None,
    ) -> None:
        """`folder` takes replicas that are read and not kept, where Rucio's class reads them; None
        is the system's for temporary files.

        `durable`: what is written to a folder of this machine, or read back from it, survives a
        power cut as soon as that returns. It waits for the disk then, for each file.

        `drivers` by scheme, None for the usual ones; `schemes`: no other protocol is used.
        `preferred` is the beginning of all PFNs of a protocol, which alone is used for what it
        serves. `names` are those that the site's schema takes for DIDs. `clock` tells how old an
        RSE's settings are; None is the system's.
        """
        self._session = session
        self._folder = folder
        self._durable = durable
        self._schemes = schemes
        self._preferred = preferred
        self._names = names
        self._clock = clock or SystemClock()
        self._rses = RSEs(session, self._clock, drivers)
        self._halves = Halves()

    def _ways(self, doing: str, rse: str, operation: str) -> list[Way]:
        """Those that we were told to use."""
        found = self._rses.ways(doing, rse, operation)
        if self._schemes is not None:
            found = [way for way in found if way.scheme in self._schemes]
        return [way for way in found if way.prefix == self._preferred] or found

    def each_way(self, rse: str) -> list[tuple[str, RucioStorage]]:
        """Every protocol that an RSE has for anything, in its order: where it leads, and the
        storage by it alone, as far as it serves."""
        doing, found = f"cannot tell the protocols of {rse}", dict[str, None]()
        for operation in ("write", "read", "delete"):
            with suppress(NoProtocol):
                ways = self._ways(doing, rse, operation)
                found.update(dict.fromkeys(way.prefix for way in ways))
        return [(prefix, self._by_way(prefix)) for prefix in found]

    def _by_way(self, prefix: str) -> RucioStorage:
        return RucioStorage(
            self._session,
            folder=self._folder,
            durable=self._durable,
            drivers=self._rses.drivers,
            schemes=self._schemes,
            preferred=prefix,
            names=self._names,
            clock=self._clock,
        )

    def _by(
        self,
        doing: str,
        rse: str,
        operation: str,
        pfn: str | None,
        call: Callable[[Access, str], T],
    ) -> T:
        """Do something by the first way that works, with what the file is called on it; `pfn`
        None: something that begins with no name."""
        failed: StorageError | None = None
        for way, name in self._choice(doing, rse, operation, pfn):
            try:
                with self._access(doing, rse, operation, way) as access:
                    return call(access, name)
            except WORTH_ANOTHER_WAY as error:
                failed = failed or error
        if failed is None:
            raise protocols.unsupported(self._rses.get(rse).settings, operation, None, doing)
        raise failed

    def _choice(
        self, doing: str, rse: str, operation: str, pfn: str | None
    ) -> list[tuple[Way, str]]:
        if pfn is None:
            return [(way, "") for way in self._ways(doing, rse, operation)]
        settings, scheme = self._rses.get(rse).settings, urlsplit(pfn).scheme
        try:
            known = self._ways(doing, rse, operation)
        except NoProtocol as error:
            raise protocols.unsupported(settings, operation, scheme, doing) from error
        every = self._rses.ways(doing, rse, "read")
        named = [(way, way.own(pfn, every)) for way in known]
        usable = [(way, name) for way, name in named if name is not None]
        if not usable:
            raise protocols.unsupported(settings, operation, scheme, doing)
        # As it is called already, where that can be.
        return sorted(usable, key=lambda one: one[0].scheme != scheme)

    @contextmanager
    def _access(self, doing: str, rse: str, operation: str, way: Way) -> Iterator[Access]:
        known = self._rses.get(rse)
        with storage_errors(doing):
            if way.driver is not None:
                yield DrivenAccess(doing, way.naming, way.driver)
                return
            if way.naming is not None:
                yield PosixAccess(doing, way.naming, known.prefixes, self._durable)
                return
            protocol = protocols.make(known.settings, operation, way.scheme, doing)
            protocol.connect()
            try:
                yield RemoteAccess(doing, protocol, known.prefixes, self._folder)
            finally:
                protocol.close()

    def taken(self, rse: str, did: DID) -> str | None:
        """See the port."""
        doing = f"cannot look for {did} at {rse}"

        def look(access: Access, _: str) -> str | None:
            pfn = self._new_pfn(doing, rse, did, access.protocol)
            return pfn if access.shows(pfn) else None

        return self._by(doing, rse, "write", None, look)

    def put(self, rse: str, path: Path, did: DID) -> Stored:
        """See the port."""
        doing = f"cannot store {did} at {rse}"
        source = source_stat(path)
        if not (self._rses.get(rse).writable or self._rses.now(rse).writable):
            raise StorageUnavailable(
                f"{doing}: the RSE is blocked for writing",
                hint="its site has taken it out for a while; run the same command again later",
            )

        def store(access: Access, _: str) -> Stored:
            pfn = self._new_pfn(doing, rse, did, access.protocol)
            return self._halves.store(access, path, source, pfn, partial_name(pfn))

        return self._by(doing, rse, "write", None, store)

    def porters(self, rse: str, most: int) -> Porters | None:
        """See the port. Where the RSE is a folder of this machine."""

        def order(files: Sequence[tuple[Path, DID]]) -> Errand | None:
            access = self._folder_of(rse)
            return None if access is None else self._errand(rse, access, files)

        if self._folder_of(rse) is None:
            return None
        try:
            return PosixPorters(order, self._halves, most)
        except OSError:
            # No process can be begun now; threads do.
            return None

    def _folder_of(self, rse: str) -> PosixAccess | None:
        """The folder of this machine that files are written to now; None if there is none."""
        doing, known = f"cannot store files at {rse}", self._rses.get(rse)
        first = None
        with suppress(NoProtocol):
            first = next(iter(self._ways(doing, rse, "write")), None)
        if first is None or first.driver is not None or first.naming is None:
            return None
        if not (known.writable and known.settings["deterministic"]):
            return None
        return PosixAccess(doing, first.naming, known.prefixes, self._durable)

    def _errand(self, rse: str, folder: PosixAccess, files: Sequence[tuple[Path, DID]]) -> Errand:
        loads = []
        for path, did in files:
            doing = f"cannot store {did} at {rse}"
            pfn = self._new_pfn(doing, rse, did, folder.protocol)
            inode = None
            with suppress(SourceUnreadable):
                inode = inode_of(source_stat(path))
            loads.append(Load(doing, str(path), inode, pfn, folder.path(pfn), partial_name(pfn)))
        prefix = folder.protocol.attributes["prefix"]
        return Errand(prefix, tuple(folder.prefixes), self._durable, tuple(loads))

    def _new_pfn(self, doing: str, rse: str, did: DID, protocol: Any) -> str:
        settings = self._rses.get(rse).settings
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
        return self._reading(rse, pfn, lambda access, name: access.get(name, path))

    def measure(self, rse: str, pfn: str) -> Measure:
        """See the port."""
        return self._reading(rse, pfn, lambda access, name: access.measure(name))

    def checksum(self, rse: str, pfn: str) -> StoredFile:
        """See the port."""
        found = self._reading(rse, pfn, lambda access, name: access.checksum(name))
        return replace(found, pfn=pfn)

    def _reading(self, rse: str, pfn: str, call: Callable[[Access, str], T]) -> T:
        return self._by(f"cannot read {pfn} at {rse}", rse, "read", pfn, call)

    def exists(self, rse: str, pfn: str) -> bool:
        """See the port."""
        doing = f"cannot look for {pfn} at {rse}"
        if urlsplit(pfn).scheme == POSIX:
            return size_of(doing, self._rses.get(rse).prefixes, pfn) is not None
        return self._by(doing, rse, "read", pfn, lambda access, name: access.shows(name))

    def stat(self, rse: str, pfn: str) -> StoredFile | None:
        """See the port."""
        doing = f"cannot look at {pfn} at {rse}"
        if urlsplit(pfn).scheme == POSIX:
            # Rucio's posix protocol would read the file for its checksum.
            size = size_of(doing, self._rses.get(rse).prefixes, pfn)
            return None if size is None else StoredFile(pfn, size)

        def look(access: Access, name: str) -> StoredFile | None:
            # Of another scheme than posix.
            assert not isinstance(access, PosixAccess)
            return access.stat(name)

        try:
            found = self._by(doing, rse, "read", pfn, look)
        except ReplicaMissing:
            # It went between two questions.
            return None
        return None if found is None else replace(found, pfn=pfn)

    def listing(self, rse: str, scope: str) -> Iterator[StoredFile] | None:
        """See the port."""
        doing, known = f"cannot list {scope} at {rse}", self._rses.get(rse)
        settings = known.settings
        named = RSEDeterministicTranslation.supports(settings.get("lfn2pfn_algorithm"))
        way = self._listable(doing, rse)
        if way is None or not (settings["deterministic"] and named):
            return None
        place = scope_place(way.naming, scope)
        if place is None:
            return None
        if way.driver is not None:
            entries = walk_if_there(way.driver, place[0])
            return listed(doing, way.naming, scope, place, entries, self._names)
        # A storage that is not mounted is not an empty one.
        size_of(doing, known.prefixes, place[0])
        return listed(doing, way.naming, scope, place, posix_entries(place[0]), self._names)

    def _listable(self, doing: str, rse: str) -> Way | None:
        """The way by which a storage can be listed; None if there is none."""
        try:
            # As the catalogue names the files: by the protocol that is read first.
            found = self._ways(doing, rse, "read")
        except NoProtocol:
            return None
        return next((way for way in found if way.naming is not None), None)

    def files_below(self, rse: str, folder: str) -> Iterator[StoredFile] | None:
        """See the port."""
        doing, known = f"cannot list {folder or 'all'} at {rse}", self._rses.get(rse)
        way = self._listable(doing, rse)
        if way is None:
            return None
        if way.driver is not None:
            inside = f"{way.prefix}{'/'.join(parts_below(folder))}"
            return listed_entries(doing, walk_below(doing, way.driver, inside))
        place = pfn_below(way.naming, folder)
        # A storage that is not mounted is not an empty one.
        size_of(doing, known.prefixes, place)
        return listed_below(doing, place)

    def remove(self, rse: str, pfn: str) -> None:
        """See the port."""
        doing = f"cannot remove {pfn} at {rse}"
        if not self.exists(rse, pfn):
            return
        # Somebody else may be quicker.
        with suppress(ReplicaMissing):
            self._by(doing, rse, "delete", pfn, lambda access, name: access.delete(name))
        # Rucio's posix protocol says nothing when it could not delete.
        if self.exists(rse, pfn):
            raise StorageRefused(f"{doing}: it is still there")

    def count(self, rse: str, breathe: Callable[[], None] | None = None) -> Usage | None:
        """See the port."""
        doing = f"cannot count what is at {rse}"
        way = self._listable(doing, rse)
        if way is None:
            return None
        if way.driver is not None:
            return _counted(doing, walk_if_there(way.driver, way.prefix), breathe)
        prefixes = {Path(prefix) for prefix in self._rses.get(rse).prefixes}
        if not prefixes or not all(prefix.is_dir() for prefix in prefixes):
            return None
        held = chain.from_iterable(walk(str(prefix)) for prefix in prefixes)
        try:
            return counted((size for _, size in held), breathe)
        except OSError:
            return None


def _counted(
    doing: str, entries: Iterator[Entry], breathe: Callable[[], None] | None
) -> Usage | None:
    try:
        with storage_errors(doing):
            return counted((entry.size for entry in entries), breathe)
    except StorageError:
        return None
