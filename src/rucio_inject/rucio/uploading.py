"""Uploads that show their final name when they are whole, and what is left of those that fail."""

from __future__ import annotations

from contextlib import ExitStack
from os import stat_result
from pathlib import Path
from threading import Lock
from typing import TypeAlias

from rucio_inject.domain.errors import PlaceTaken, StorageRefused
from rucio_inject.ports import Stored
from rucio_inject.rucio.driven import DrivenAccess
from rucio_inject.rucio.listing import partial_name
from rucio_inject.rucio.posix import PosixAccess
from rucio_inject.rucio.remote import RemoteAccess

Access: TypeAlias = PosixAccess | RemoteAccess | DrivenAccess


class Halves:
    """Stores files, and remembers the halves whose storage was away when they were to be removed:
    they go when something is stored beside them again."""

    def __init__(self) -> None:
        self._left: set[str] = set()
        self._lock = Lock()

    def store(self, access: Access, path: Path, source: stat_result, pfn: str) -> Stored:
        """Have a file, whose stat was `source`, under its name when it is whole."""
        _refuse_taken(access, pfn)
        partial = partial_name(pfn)
        with ExitStack() as undo:
            undo.callback(self._discard, access, partial)
            measure = access.write(path, source, partial)
            # It took its time, and a rename may replace what is there: look again.
            _refuse_taken(access, pfn)
            try:
                access.rename(partial, pfn)
            except FileExistsError as error:
                raise _taken(access, pfn) from error
            undo.pop_all()
        if not access.shows(pfn):
            raise StorageRefused(f"{access.doing}: it took the file and does not show it at {pfn}")
        if self._left:
            self._clean(access, pfn)
        return Stored(pfn, measure)

    def _discard(self, access: Access, partial: str) -> None:
        if not access.discard(partial):
            with self._lock:
                self._left.add(partial)

    def _clean(self, access: Access, pfn: str) -> None:
        """Remove the halves of the server that has just taken a file."""
        server = "/".join(pfn.split("/")[:3])
        with self._lock:
            left = {partial for partial in self._left if partial.startswith(f"{server}/")}
            self._left -= left
        for partial in left:
            # Once: what it refuses to remove now is the audit's.
            access.discard(partial)


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
