"""Uploads that show their final name when they are whole, and what is left of those that fail."""

from __future__ import annotations

from contextlib import ExitStack
from os import stat_result
from pathlib import Path
from threading import Lock
from typing import Protocol

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.errors import PlaceTaken, StorageRefused
from rucio_inject.ports import Stored


class Receiver(Protocol):
    """What a storage does for an upload, whatever it is; see `PosixAccess`."""

    @property
    def doing(self) -> str:
        """What the messages of its errors begin with."""
        ...

    def shows(self, pfn: str) -> bool:
        """Whether there is such a file."""
        ...

    def write(self, source: Path, found: stat_result, partial: str) -> Measure:
        """Bring a source, whose stat was `found`, and measure it on the way."""
        ...

    def rename(self, partial: str, pfn: str) -> None:
        """Give a file its name. FileExistsError if something got that name meanwhile."""
        ...

    def discard(self, partial: str) -> bool:
        """Remove what a failed try left; whether it is gone."""
        ...


class Halves:
    """Stores files, and remembers the halves whose storage was away when they were to be removed:
    they go when something is stored beside them again."""

    def __init__(self) -> None:
        self._left: set[str] = set()
        self._lock = Lock()

    def store(
        self, access: Receiver, path: Path, source: stat_result, pfn: str, partial: str
    ) -> Stored:
        """Have a file, whose stat was `source`, under its name when it is whole, and under that of
        a `partial` file before."""
        _refuse_taken(access, pfn)
        with ExitStack() as undo:
            undo.callback(self.discard, access, partial)
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

    def discard(self, access: Receiver, partial: str) -> None:
        """Remove what was written of a file, now or when its storage is back."""
        if not access.discard(partial):
            with self._lock:
                self._left.add(partial)

    def _clean(self, access: Receiver, pfn: str) -> None:
        """Remove the halves of the server that has just taken a file."""
        server = "/".join(pfn.split("/")[:3])
        with self._lock:
            left = {partial for partial in self._left if partial.startswith(f"{server}/")}
            self._left -= left
        for partial in left:
            # Once: what it refuses to remove now is the audit's.
            access.discard(partial)


def _refuse_taken(access: Receiver, pfn: str) -> None:
    if access.shows(pfn):
        raise _taken(access, pfn)


def _taken(access: Receiver, pfn: str) -> PlaceTaken:
    return PlaceTaken(
        f"{access.doing}: something lies at {pfn} already",
        pfn=pfn,
        hint="is it a replica that the catalogue does not know? look at it, and remove it "
        "if nobody needs it",
    )
